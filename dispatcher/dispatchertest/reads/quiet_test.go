package reads_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"poked/events"
	"poked/events/eventstest"
)

// quiet switches do not disturb on in some rooms, or with none off.
func (h *harness) quiet(highlights bool, rooms ...events.RoomID) {
	h.T.Helper()
	set := events.UserPushRules{}
	if len(rooms) > 0 {
		set.DoNotDisturb = &events.DoNotDisturb{Rooms: rooms, Highlights: highlights}
	}
	h.Rules("@bob:x", set)
}

// mention publishes a message in !r that mentions bob.
func (h *harness) mention(id string) {
	h.T.Helper()
	h.Publish(fmt.Sprintf(`{"event_id":"$%s","room_id":"!r","type":"m.room.message","sender":"@alice:x","content":{"body":"hi","m.mentions":{"user_ids":["@bob:x"]}}}`, id))
}

// got checks the events and the counts that a pusher got.
func (h *harness) got(pushkey, delivered, badges string) {
	h.T.Helper()
	if got := strings.Join(strings.Fields(h.Delivered(pushkey)), " "); got != delivered {
		h.T.Errorf("%s got %s, want %s", pushkey, got, delivered)
	}
	if got := h.Badges(pushkey); got != badges {
		h.T.Errorf("%s got the counts %s, want %s", pushkey, got, badges)
	}
}

// While do not disturb is on, what happens is unread and counted, and nothing of it is
// poked, also not later: when it is off again the count is right already.
func TestDoNotDisturbHoldsPokesAsUnread(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.SpanHours()
		h.RegisterAll("@bob:x", events.Pusher{Pushkey: "bob"}, events.Pusher{
			Pushkey: "own", Data: []byte(`{"url":"http://gw.test/_matrix/push/v1/notify","disable_badge_count":true}`),
		})
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		h.Room("!s", "@alice:x", "@bob:x")
		h.quiet(false, events.EveryRoom)
		h.Say("!r", "@alice:x", 0, 1)
		<-time.After(time.Second)
		h.Say("!s", "@alice:x", 0, 1)
		<-time.After(time.Second)
		h.mention("m")
		<-time.After(time.Minute)
		h.got("bob", "", "[1] [2] [3]")
		h.got("own", "", "") // it counts by itself
		if unread := h.Unread("@bob:x"); len(unread) != 3 {
			t.Errorf("unread are %v", unread)
		}
		h.quiet(false)
		<-time.After(time.Hour)
		h.got("bob", "", "[1] [2] [3]")
		h.Say("!r", "@alice:x", 1, 1)
		<-time.After(time.Second)
		h.got("bob", "r-1", "[1] [2] [3] 4")
		h.got("own", "r-1", "0")
		if dead := h.Dead(); len(dead) > 0 {
			t.Errorf("dead letters: %v", dead)
		}
		h.CaughtUp()
	})
}

// It holds for the rooms that it names, and highlights are poked by choice.
func TestDoNotDisturbOfARoomAndHighlights(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Register("@bob:x", "gw.test", "bob")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		h.Room("!s", "@alice:x", "@bob:x")
		h.quiet(true, "!q", "!r")
		h.Say("!r", "@alice:x", 0, 1)
		<-time.After(time.Second)
		h.mention("m")
		<-time.After(time.Second)
		h.Say("!s", "@alice:x", 0, 1)
		<-time.After(time.Second)
		h.got("bob", "m s-0", "[1] 2 3")
	})
}

// What waited for a gateway when do not disturb was switched on is not poked either, and does not stand in
// the way of what is.
func TestDoNotDisturbHoldsWhatWaits(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.SpanHours()
		h.Register("@bob:x", "gw.test", "bob")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		h.Room("!s", "@alice:x", "@bob:x")
		h.GatewayDown()
		h.Say("!r", "@alice:x", 0, 3)
		<-time.After(time.Second)
		h.Say("!s", "@alice:x", 0, 1)
		<-time.After(time.Second)
		h.Say("!r", "@alice:x", 3, 1)
		<-time.After(10 * time.Second)
		h.quiet(false, "!r")
		h.GatewayUp()
		<-time.After(10 * time.Minute)
		h.got("bob", "s-0", "4 [5]")
		h.CaughtUp()
	})
}

// A poke that is refused is compared with none of a room that is quiet (G13).
func TestDoNotDisturbIsHeededBehindARefusedPoke(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.SpanHours()
		h.Register("@bob:x", "gw.test", "bob")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		h.Room("!s", "@alice:x", "@bob:x")
		h.quiet(false, "!r")
		h.Gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
			if p.EventID == "$s-0" {
				return eventstest.Reply{Status: 400}
			}
			return eventstest.Reply{}
		})
		h.Say("!s", "@alice:x", 0, 1)
		h.Say("!r", "@alice:x", 0, 5)
		<-time.After(10 * time.Minute)
		for _, p := range h.Gateway.Tried() {
			if p.RoomID == "!r" {
				t.Errorf("%s was poked", p.EventID)
			}
		}
	})
}
