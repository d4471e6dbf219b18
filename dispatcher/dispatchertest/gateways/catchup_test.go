package gateways_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"poked/dispatcher/dispatchertest"
	"poked/events"
	"poked/events/eventstest"
	"poked/events/natstest"
)

// outage notifies bob while his gateway is down, in one room after the other, messages[i]
// times in room i. It returns the pokes that arrive once the gateway is back.
func (h *harness) outage(restart bool, messages ...int) (ids []string, unread []int) {
	h.T.Helper()
	h.Register("@bob:x", "gw.test", "bob")
	h.Start()
	for i := range messages {
		h.Room(events.RoomID(fmt.Sprintf("!r%d", i)), "@alice:x", "@bob:x")
	}
	h.GatewayDown()
	for i, n := range messages {
		h.Say(events.RoomID(fmt.Sprintf("!r%d", i)), "@alice:x", 0, n)
		<-time.After(time.Second) // rooms may be of different partitions
	}
	<-time.After(time.Minute)
	if restart {
		h.Halt()
		h.Start()
	}
	h.GatewayUp()
	h.CaughtUp()
	for _, p := range h.Gateway.Pokes() {
		ids, unread = append(ids, strings.TrimPrefix(string(p.EventID), "$")), append(unread, p.Unread)
	}
	return ids, unread
}

// Up to the limit every notification is sent, in order, also if that takes more than one page.
func TestCatchUpToTheLimit(t *testing.T) {
	for _, restart := range []bool{false, true} {
		bubble(t, func(t *testing.T, h *harness) {
			ids, unread := h.outage(restart, 30, 1, 69)
			if len(ids) != h.Config.CatchUpLimit || ids[29] != "r0-29" || ids[30] != "r1-0" || ids[31] != "r2-0" || ids[99] != "r2-68" {
				t.Errorf("restart %t: got %v", restart, ids)
			}
			for i := range unread {
				if unread[i] != i+1 && !restart || unread[i] > 100 {
					t.Errorf("restart %t: number %d with badge %d", restart, i+1, unread[i])
				}
			}
			h.Check("@bob:x", 0, "bob")
		})
	}
}

// Beyond the limit only the newest of each room is sent. The others are counted as passed
// over.
func TestCatchUpBeyondTheLimit(t *testing.T) {
	for _, restart := range []bool{false, true} {
		bubble(t, func(t *testing.T, h *harness) {
			ids, unread := h.outage(restart, 30, 1, 70)
			if got := fmt.Sprint(ids, unread); got != "[r0-29 r1-0 r2-69] [101 101 101]" {
				t.Errorf("restart %t: got %s", restart, got)
			}
			if n := h.Dispatcher.Stats().PassedOver; n != 98 {
				t.Errorf("restart %t: %d passed over, want 98", restart, n)
			}
			h.Say("!r0", "@alice:x", 30, 1) // live again
			h.Arrived(4)
		})
	}
}

// Notifications that arrive during or after a catch-up beyond the limit are sent as usual.
func TestCatchUpWhileMoreArrives(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Config.CatchUpLimit = 5
		h.Register("@bob:x", "gw.test", "bob")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		h.Room("!s", "@alice:x", "@bob:x")
		h.GatewayDown()
		h.Say("!r", "@alice:x", 0, 10)
		h.Say("!s", "@alice:x", 0, 10)
		<-time.After(time.Minute)
		h.GatewayUp()
		for i := range 70 { // for longer than the breaker is open
			h.Say("!r", "@alice:x", 10+i, 1)
			<-time.After(500 * time.Millisecond)
		}
		h.CaughtUp()
		seen, last := map[string]bool{}, ""
		for _, p := range h.Gateway.Pokes() {
			last = string(p.EventID)
			if seen[last] {
				t.Errorf("%s was sent twice", last)
			}
			seen[last] = true
		}
		if last != "$r-79" || !seen["$s-9"] || seen["$s-8"] || seen["$r-8"] || !seen["$r-78"] {
			t.Errorf("got %v", seen)
		}
	})
}

// A gateway that takes one poke and then fails again makes slow progress: nothing is sent
// twice, and nothing is lost.
func TestCatchUpInterrupted(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.SpanHours()
		h.Register("@bob:x", "gw.test", "bob")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		h.GatewayDown()
		h.Say("!r", "@alice:x", 0, 20)
		for range 30 {
			before := len(h.Gateway.Pokes())
			h.GatewayUp()
			h.Arrived(min(before+1, 20))
			h.GatewayDown()
			<-time.After(time.Minute)
		}
		h.GatewayUp()
		h.CaughtUp()
		h.Check("@bob:x", 0, "bob")
		if n := len(h.Gateway.Pokes()); n != 20 {
			t.Errorf("%d pokes, want 20", n)
		}
	})
}

// A new owner first receives the notifications that the previous owner did not finish, with
// gaps between them. A pusher that falls behind on one of them misses none of the others.
func TestG1FallingBehindOnUnfinishedNotifications(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Register("@bob:x", "gw.test", "bob")
		h.Start()
		h.Gateway.Answer(dispatchertest.Always(eventstest.Reply{After: time.Hour}))
		h.notify("@bob:x", "!a", 1, "")
		h.notify("@bob:x", "!a", 2, "another pusher")
		h.notify("@bob:x", "!b", 3, "")
		<-time.After(500 * time.Millisecond)
		h.Kill()
		h.GatewayDown()
		h.Start()
		<-time.After(time.Minute)
		h.GatewayUp()
		h.CaughtUp()
		if got := h.Delivered("bob"); got != "1 3" {
			t.Errorf("got %q, want 1 and 3", got)
		}
	})
}

// notify stores a notification with the id $<number>, one digit, for one of a user's
// pushers alone or, for "", for all.
func (h *harness) notify(user events.UserID, room events.RoomID, number int, only events.PusherID) {
	h.T.Helper()
	n := events.Notification{
		About:  events.About{EventID: events.EventID("$" + string(rune('0'+number))), RoomSeq: uint64(number), At: time.Now(), Only: only},
		Tweaks: []byte("{}"), Body: []byte(`{"event_id":"$` + string(rune('0'+number)) + `","prio":"low"}`),
	}
	natstest.Notify(h.T, h.Conn, user, room, n)
}

// Beyond the limit, the newest of each room is the newest that concerns this pusher.
func TestCatchUpBeyondTheLimitSkipsOtherPushers(t *testing.T) {
	for _, restart := range []bool{false, true} {
		bubble(t, func(t *testing.T, h *harness) {
			h.Config.CatchUpLimit = 5
			h.Register("@bob:x", "gw.test", "bob")
			h.Start()
			h.GatewayDown()
			for number := 1; number <= 7; number++ {
				h.notify("@bob:x", "!a", number, "")
			}
			h.notify("@bob:x", "!a", 8, "another pusher")
			h.notify("@bob:x", "!b", 9, "")
			<-time.After(time.Minute)
			if restart {
				h.Halt()
				h.Start()
			}
			before := len(h.Delivered("bob"))
			h.GatewayUp()
			h.CaughtUp()
			if got := h.Delivered("bob"); before != 0 || got != "7 9" {
				t.Errorf("restart %t: got %q, want 7 and 9", restart, got)
			}
		})
	}
}
