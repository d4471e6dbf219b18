package dispatchertest

import (
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"poked/dispatcher/poke"
	"poked/dispatcher/trace"
	"poked/events"
	"poked/events/eventstest"
	"poked/events/pushrule"
)

// Silence is a reason why a phone stays silent, and what a trace tells of it. @bob:x, who has a
// pusher, is in the room !r with @alice:x.
type Silence struct {
	Arrange  func(h *Harness) // before the message
	Say      func(h *Harness) // the message $m
	After    func(h *Harness) // after it
	Notified bool
	Why      events.Suppression
	Fate     trace.Fate
	Text     string        // a part of what is said to the operator
	Active   time.Duration // --delay-if-active
}

// silenceSoon is longer than anything that a dispatcher does at once takes.
const silenceSoon = 2 * time.Second

// Silences returns the reasons by name, and the case of a phone that rings.
func Silences() map[string]Silence {
	all := notNotified()
	maps.Copy(all, notDelivered())
	maps.Copy(all, tooLate())
	return all
}

// message is a message of Alice.
func message(h *Harness) { sayAs(h, "@alice:x", "m", "hello") }

// notNotified returns the reasons why a message notifies nobody, or not this user.
func notNotified() map[string]Silence {
	return map[string]Silence{
		"muted": {
			Arrange: func(h *Harness) { h.Rules("@bob:x", events.UserPushRules{Changes: mutedRoom()}) },
			Say:     message, Why: events.SuppressMuted, Fate: trace.FateNone, Text: "room rule !r matched and does not notify",
		},
		"ignored": {
			Arrange: func(h *Harness) {
				h.Rules("@bob:x", events.UserPushRules{IgnoredUsers: []events.UserID{"@alice:x"}})
			},
			Say: message, Why: events.SuppressIgnored, Fate: trace.FateNone, Text: "they ignore the sender",
		},
		"not joined": {
			Arrange: func(h *Harness) {
				h.Publish(`{"event_id":"$left","room_id":"!r","type":"m.room.member","sender":"@bob:x","state_key":"@bob:x","content":{"membership":"leave"}}`)
			},
			Say: message, Why: events.SuppressNotJoined, Fate: trace.FateNone, Text: "membership leave",
		},
		"own event": {
			Say: func(h *Harness) { sayAs(h, "@bob:x", "m", "hello") },
			Why: events.SuppressOwnEvent, Fate: trace.FateNone, Text: "they sent the event",
		},
		"disabled": {
			Arrange: func(h *Harness) {
				h.RegisterAll("@bob:x", events.Pusher{Pushkey: "bob", Disabled: true})
			},
			Say: message, Why: events.SuppressNoPusher, Fate: trace.FateDisabled, Text: "their pushers are disabled",
		},
		"not activated": {
			Arrange: func(h *Harness) {
				h.RegisterAll("@bob:x", events.Pusher{Pushkey: "bob", Kind: events.KindWebPush, Inactive: true})
			},
			Say: message, Why: events.SuppressNoPusher, Fate: trace.FateInactive, Text: "has not acknowledged",
		},
	}
}

// notDelivered returns the reasons why a notification is not delivered, and the case in which it
// is.
func notDelivered() map[string]Silence {
	down := (*Harness).GatewayDown
	return map[string]Silence{
		"delivered": {Say: message, Notified: true, Fate: trace.FateDelivered, Text: "Delivered at"},
		"read elsewhere": {
			Arrange: down, Say: message, Notified: true,
			After: func(h *Harness) { h.Receipt("!r", "@bob:x", "m.read", "$m", "") },
			Fate:  trace.FateRead, Text: "@bob:x read it by a receipt for $m",
		},
		"redacted": {
			Arrange: down, Say: message, Notified: true,
			After: func(h *Harness) {
				h.Publish(`{"event_id":"$x","room_id":"!r","type":"m.room.redaction","sender":"@alice:x","content":{"redacts":"$m"},"redacts":"$m"}`)
			},
			Fate: trace.FateRedacted, Text: "@alice:x redacted it",
		},
		"do not disturb": {
			Arrange: func(h *Harness) {
				h.Rules("@bob:x", events.UserPushRules{DoNotDisturb: &events.DoNotDisturb{Rooms: []events.RoomID{"!r"}}})
			},
			Say: message, Notified: true, Fate: trace.FateQuiet, Text: "had do not disturb on",
		},
		"gateway down": {Arrange: down, Say: message, Notified: true, Fate: trace.FateWaiting, Text: "Waiting: its gateway fails (http_502"},
		"pusher refused": {
			Arrange: func(h *Harness) {
				h.Gateway.Answer(Always(eventstest.Reply{Body: `{"rejected":["bob"]}`}))
			},
			Say: message, Notified: true, Fate: trace.FateRejected, Text: "rejected the pushkey",
		},
		"poke refused for its content": {
			Arrange: func(h *Harness) {
				h.Gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
					if p.EventID == "$m" {
						return eventstest.Reply{Status: 400}
					}
					return eventstest.Reply{}
				})
			},
			Say: message, After: func(h *Harness) { h.Say("!r", "@alice:x", 0, 3); <-time.After(2 * poke.SlowLimit) },
			Notified: true, Fate: trace.FateDead, Text: "refuses this poke and takes others",
		},
		"held while active": {
			Arrange: func(h *Harness) {
				sayAs(h, "@alice:x", "before", "hello")
				<-time.After(time.Second)
				h.Receipt("!r", "@bob:x", "m.read", "$before", "")
				<-time.After(time.Second)
			},
			Say: message, Notified: true, Fate: trace.FateWaiting, Text: "the user was reading elsewhere", Active: time.Hour,
		},
	}
}

// tooLate returns the reasons why a notification that waited for its gateway is not delivered.
func tooLate() map[string]Silence {
	down := (*Harness).GatewayDown
	return map[string]Silence{
		"passed over": {
			Arrange: down, Say: message, Notified: true,
			After: func(h *Harness) {
				<-time.After(time.Minute)
				h.Say("!r", "@alice:x", 0, h.Config.CatchUpLimit+5)
				<-time.After(time.Minute)
				h.GatewayUp()
				h.CaughtUp()
			},
			Fate: trace.FatePassedOver, Text: "Passed over",
		},
		"call over": {
			Arrange: down, Say: func(h *Harness) {
				h.Publish(`{"event_id":"$m","room_id":"!r","type":"m.call.invite","sender":"@alice:x","content":{"call_id":"c","lifetime":60000}}`)
			},
			After:    func(h *Harness) { <-time.After(2 * time.Minute); h.GatewayUp(); h.CaughtUp() },
			Notified: true, Fate: trace.FateRingOver, Text: "the call was over",
		},
		"older than the pusher wants": {
			Arrange: func(h *Harness) {
				h.GatewayDown()
				h.RegisterAll("@bob:x", events.Pusher{Pushkey: "bob", Data: json.RawMessage(`{"url":"http://gw.test/_matrix/push/v1/notify","poked.ttl":60}`)})
			},
			Say: message, After: func(h *Harness) { <-time.After(5 * time.Minute); h.GatewayUp(); h.CaughtUp() },
			Notified: true, Fate: trace.FateDead, Text: "it was older than 1m0s, its time to live",
		},
	}
}

// Prepare does what makes the phone silent.
func (s *Silence) Prepare(h *Harness) {
	h.T.Helper()
	h.Topology.TraceFor, h.Topology.TraceBytes = 24*time.Hour, 64<<20
	h.Config.DelayIfActive = s.Active
	h.Register("@bob:x", "gw.test", "bob")
	h.Start()
	h.Room("!r", "@alice:x", "@bob:x")
	<-time.After(time.Second)
	if s.Arrange != nil {
		s.Arrange(h)
		<-time.After(silenceSoon)
	}
	s.Say(h)
	<-time.After(silenceSoon)
	if s.After != nil {
		s.After(h)
		<-time.After(silenceSoon)
	}
	<-time.After(silenceSoon)
}

// sayAs publishes a message of the room !r.
func sayAs(h *Harness, sender events.UserID, id, body string) {
	h.T.Helper()
	h.Publish(fmt.Sprintf(`{"event_id":"$%s","room_id":"!r","type":"m.room.message","sender":%q,"content":{"body":%q}}`, id, sender, body))
}

// mutedRoom are the changes of a user who has muted the room !r.
func mutedRoom() pushrule.Changes {
	return pushrule.Changes{Room: []pushrule.Rule{{ID: "!r", Enabled: true}}}
}
