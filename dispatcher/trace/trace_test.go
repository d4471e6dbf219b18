package trace_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"poked/dispatcher/dispatchertest"
	"poked/dispatcher/poke"
	"poked/dispatcher/trace"
	"poked/events"
	"poked/events/eventstest"
	"poked/events/pushrule"
)

// soon is longer than anything that a dispatcher does at once takes.
const soon = 2 * time.Second

func TestMain(m *testing.M) {
	eventstest.Prepare()
	m.Run()
}

// say publishes a message of the room !r.
func say(h *dispatchertest.Harness, sender events.UserID, id, body string) {
	h.T.Helper()
	h.Publish(fmt.Sprintf(`{"event_id":"$%s","room_id":"!r","type":"m.room.message","sender":%q,"content":{"body":%q}}`, id, sender, body))
}

// muted are the changes of a user who has muted the room !r.
func muted() pushrule.Changes {
	return pushrule.Changes{Room: []pushrule.Rule{{ID: "!r", Enabled: true}}}
}

// silence is a reason why a phone stays silent, and what a trace says of it.
type silence struct {
	arrange  func(h *dispatchertest.Harness) // before the message
	say      func(h *dispatchertest.Harness) // alice's message $m, unless it is another one
	after    func(h *dispatchertest.Harness) // after it
	notified bool
	why      events.Suppression
	fate     trace.Fate
	text     string // a part of what is said
}

// For each reason why a phone may stay silent a trace tells it (G16).
func TestG16WhyItDidNotRing(t *testing.T) {
	message := func(h *dispatchertest.Harness) { say(h, "@alice:x", "m", "hello") }
	down := (*dispatchertest.Harness).GatewayDown
	for name, tc := range map[string]silence{
		"delivered": {say: message, notified: true, fate: trace.FateDelivered, text: "Delivered at"},
		"muted": {
			arrange: func(h *dispatchertest.Harness) { h.Rules("@bob:x", events.UserPushRules{Changes: muted()}) },
			say:     message, why: events.SuppressMuted, fate: trace.FateNone, text: "room rule !r matched and does not notify",
		},
		"ignored": {
			arrange: func(h *dispatchertest.Harness) {
				h.Rules("@bob:x", events.UserPushRules{IgnoredUsers: []events.UserID{"@alice:x"}})
			},
			say: message, why: events.SuppressIgnored, fate: trace.FateNone, text: "they ignore the sender",
		},
		"not joined": {
			arrange: func(h *dispatchertest.Harness) {
				h.Publish(`{"event_id":"$left","room_id":"!r","type":"m.room.member","sender":"@bob:x","state_key":"@bob:x","content":{"membership":"leave"}}`)
			},
			say: message, why: events.SuppressNotJoined, fate: trace.FateNone, text: "membership leave",
		},
		"own event": {
			say: func(h *dispatchertest.Harness) { say(h, "@bob:x", "m", "hello") },
			why: events.SuppressOwnEvent, fate: trace.FateNone, text: "they sent the event",
		},
		"read elsewhere": {
			arrange: down, say: message, notified: true,
			after: func(h *dispatchertest.Harness) { h.Receipt("!r", "@bob:x", "m.read", "$m", "") },
			fate:  trace.FateRead, text: "@bob:x read it by a receipt for $m",
		},
		"redacted": {
			arrange: down, say: message, notified: true,
			after: func(h *dispatchertest.Harness) {
				h.Publish(`{"event_id":"$x","room_id":"!r","type":"m.room.redaction","sender":"@alice:x","content":{"redacts":"$m"},"redacts":"$m"}`)
			},
			fate: trace.FateRedacted, text: "@alice:x redacted it",
		},
		"passed over": {
			arrange: down, say: message, notified: true,
			after: func(h *dispatchertest.Harness) {
				<-time.After(time.Minute)
				h.Say("!r", "@alice:x", 0, h.Config.CatchUpLimit+5)
				<-time.After(time.Minute)
				h.GatewayUp()
				h.CaughtUp()
			},
			fate: trace.FatePassedOver, text: "Passed over",
		},
		"gateway down": {arrange: down, say: message, notified: true, fate: trace.FateWaiting, text: "Waiting: its gateway fails (http_502"},
		"pusher refused": {
			arrange: func(h *dispatchertest.Harness) {
				h.Gateway.Answer(dispatchertest.Always(eventstest.Reply{Body: `{"rejected":["bob"]}`}))
			},
			say: message, notified: true, fate: trace.FateRejected, text: "rejected the pushkey",
		},
		"poke refused for its content": {
			arrange: func(h *dispatchertest.Harness) {
				h.Gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
					if p.EventID == "$m" {
						return eventstest.Reply{Status: 400}
					}
					return eventstest.Reply{}
				})
			},
			say: message, after: func(h *dispatchertest.Harness) { h.Say("!r", "@alice:x", 0, 3); <-time.After(2 * poke.SlowLimit) },
			notified: true, fate: trace.FateDead, text: "refuses this poke and takes others",
		},
		"held while active": {
			arrange: func(h *dispatchertest.Harness) {
				say(h, "@alice:x", "before", "hello")
				<-time.After(time.Second)
				h.Receipt("!r", "@bob:x", "m.read", "$before", "")
				<-time.After(time.Second)
			},
			say: message, notified: true, fate: trace.FateWaiting, text: "the user was reading elsewhere",
		},
		"disabled": {
			arrange: func(h *dispatchertest.Harness) {
				h.RegisterAll("@bob:x", events.Pusher{Pushkey: "bob", Disabled: true})
			},
			say: message, why: events.SuppressNoPusher, fate: trace.FateDisabled, text: "their pushers are disabled",
		},
		"not activated": {
			arrange: func(h *dispatchertest.Harness) {
				h.RegisterAll("@bob:x", events.Pusher{Pushkey: "bob", Kind: events.KindWebPush, Inactive: true})
			},
			say: message, why: events.SuppressNoPusher, fate: trace.FateInactive, text: "has not acknowledged",
		},
	} {
		t.Run(name, func(t *testing.T) { tc.check(t, name) })
	}
}

func (tc *silence) check(t *testing.T, name string) {
	dispatchertest.Bubble(t, func(t *testing.T, h *dispatchertest.Harness) {
		h.Topology.TraceFor, h.Topology.TraceBytes = 24*time.Hour, 64<<20
		if name == "held while active" {
			h.Config.DelayIfActive = time.Hour
		}
		h.Register("@bob:x", "gw.test", "bob")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		<-time.After(time.Second)
		if tc.arrange != nil {
			tc.arrange(h)
			<-time.After(soon)
		}
		tc.say(h)
		<-time.After(soon)
		if tc.after != nil {
			tc.after(h)
			<-time.After(soon)
		}
		<-time.After(2 * time.Second)
		for _, room := range []events.RoomID{"!r", ""} {
			got, err := trace.Run(t.Context(), h.Conn, trace.Query{Event: "$m", Room: room, User: "@bob:x"})
			if err != nil {
				t.Fatal(err)
			}
			tc.compare(t, got)
		}
	})
}

func (tc *silence) compare(t *testing.T, got *trace.Trace) {
	t.Helper()
	if len(got.Users) != 1 || len(got.Users[0].Pushers) != 1 {
		t.Fatalf("trace is %+v", got)
	}
	u := &got.Users[0]
	p := &u.Pushers[0]
	said := got.Because() + "\n" + u.Because() + "\n" + p.Because(got, u, time.Now())
	if u.Notified != tc.notified || u.Suppressed != tc.why || p.Fate != tc.fate || !strings.Contains(said, tc.text) {
		t.Errorf("notified %t, suppressed %q, fate %q, want %t %q %q and %q:\n%s\n%+v", u.Notified, u.Suppressed, p.Fate, tc.notified, tc.why, tc.fate, tc.text, said, *p)
	}
}

// An event that was never published is not found.
func TestG16NeverPublished(t *testing.T) {
	dispatchertest.Bubble(t, func(t *testing.T, h *dispatchertest.Harness) {
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		for _, room := range []events.RoomID{"!r", ""} {
			if _, err := trace.Run(t.Context(), h.Conn, trace.Query{Event: "$m", Room: room}); !errors.Is(err, trace.ErrNotFound) {
				t.Errorf("in room %q: %v", room, err)
			}
		}
	})
}
