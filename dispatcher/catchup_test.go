package dispatcher

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"poked/events"
	"poked/events/eventstest"
)

// outage has a gateway fail while bob is notified in each of the rooms as often
// as said, one after the other, and returns what he was told when it was back.
func (h *house) outage(restart bool, messages ...int) (ids []string, unread []int) {
	h.t.Helper()
	h.register("@bob:x", "gw.test", "bob")
	h.start()
	for i := range messages {
		h.room(events.RoomID(fmt.Sprintf("!r%d", i)), "@alice:x", "@bob:x")
	}
	h.gateway.Answer(down())
	for i, n := range messages {
		h.say(events.RoomID(fmt.Sprintf("!r%d", i)), "@alice:x", 0, n)
		<-time.After(time.Second) // rooms may be of different partitions
	}
	<-time.After(time.Minute)
	if restart {
		h.halt()
		h.start()
	}
	h.gateway.Answer(up())
	h.calm()
	for _, p := range h.gateway.Pokes() {
		ids, unread = append(ids, strings.TrimPrefix(string(p.EventID), "$")), append(unread, p.Unread)
	}
	return ids, unread
}

// All that waits is told, in order, if it is not more than the limit: also if
// that is more than one page.
func TestCatchUpToTheLimit(t *testing.T) {
	for _, restart := range []bool{false, true} {
		bubble(t, func(t *testing.T, h *house) {
			ids, unread := h.outage(restart, 30, 1, 69)
			if len(ids) != h.cfg.CatchUpLimit || ids[29] != "r0-29" || ids[30] != "r1-0" || ids[31] != "r2-0" || ids[99] != "r2-68" {
				t.Errorf("restart %t: told %v", restart, ids)
			}
			for i := range unread {
				if unread[i] != i+1 && !restart || unread[i] > 100 {
					t.Errorf("restart %t: number %d with badge %d", restart, i+1, unread[i])
				}
			}
			h.promise("@bob:x", 0, "bob")
		})
	}
}

// Beyond the limit only the newest of each room is told, and counted is what was
// passed over.
func TestCatchUpBeyondTheLimit(t *testing.T) {
	for _, restart := range []bool{false, true} {
		bubble(t, func(t *testing.T, h *house) {
			ids, unread := h.outage(restart, 30, 1, 70)
			if got := fmt.Sprint(ids, unread); got != "[r0-29 r1-0 r2-69] [101 101 101]" {
				t.Errorf("restart %t: told %s", restart, got)
			}
			if n := h.d.Stats().PassedOver; n != 98 {
				t.Errorf("restart %t: %d passed over, want 98", restart, n)
			}
			h.say("!r0", "@alice:x", 30, 1) // live again
			h.arrived(4)
		})
	}
}

// A pusher that was passed over something is told what comes then as ever, also
// if that comes while it catches up.
func TestCatchUpWhileMoreComes(t *testing.T) {
	bubble(t, func(t *testing.T, h *house) {
		h.cfg.CatchUpLimit = 5
		h.register("@bob:x", "gw.test", "bob")
		h.start()
		h.room("!r", "@alice:x", "@bob:x")
		h.room("!s", "@alice:x", "@bob:x")
		h.gateway.Answer(down())
		h.say("!r", "@alice:x", 0, 10)
		h.say("!s", "@alice:x", 0, 10)
		<-time.After(time.Minute)
		h.gateway.Answer(up())
		for i := range 70 { // for longer than the gateway is left alone
			h.say("!r", "@alice:x", 10+i, 1)
			<-time.After(500 * time.Millisecond)
		}
		h.calm()
		seen, last := map[string]bool{}, ""
		for _, p := range h.gateway.Pokes() {
			last = string(p.EventID)
			if seen[last] {
				t.Errorf("%s was told twice", last)
			}
			seen[last] = true
		}
		if last != "$r-79" || !seen["$s-9"] || seen["$s-8"] || seen["$r-8"] || !seen["$r-78"] {
			t.Errorf("told %v", seen)
		}
	})
}

// A gateway that takes one poke and then fails again makes slow progress, but
// progress: nothing is told twice, and nothing is lost.
func TestCatchUpInterrupted(t *testing.T) {
	bubble(t, func(t *testing.T, h *house) {
		h.register("@bob:x", "gw.test", "bob")
		h.start()
		h.room("!r", "@alice:x", "@bob:x")
		h.gateway.Answer(down())
		h.say("!r", "@alice:x", 0, 20)
		for range 30 {
			before := len(h.gateway.Pokes())
			h.gateway.Answer(up())
			h.arrived(min(before+1, 20))
			h.gateway.Answer(down())
			<-time.After(time.Minute)
		}
		h.gateway.Answer(up())
		h.calm()
		h.promise("@bob:x", 0, "bob")
		if n := len(h.gateway.Pokes()); n != 20 {
			t.Errorf("%d pokes, want 20", n)
		}
	})
}

// What a predecessor left open comes again without what lay between and was done
// for nobody: who falls behind on it does not know how much the log holds.
func TestG1FallingBehindOnWhatAPredecessorLeftOpen(t *testing.T) {
	bubble(t, func(t *testing.T, h *house) {
		h.register("@bob:x", "gw.test", "bob")
		h.start()
		h.gateway.Answer(always(eventstest.Reply{After: time.Hour}))
		h.notify("@bob:x", "!a", 1, "")
		h.notify("@bob:x", "!a", 2, "another pusher")
		h.notify("@bob:x", "!b", 3, "")
		<-time.After(500 * time.Millisecond)
		h.kill()
		h.gateway.Answer(down())
		h.start()
		<-time.After(time.Minute)
		h.gateway.Answer(up())
		h.calm()
		if got := delivered(h.gateway.Pokes(), "bob"); got != "1 3" {
			t.Errorf("told %q, want 1 and 3", got)
		}
	})
}

// notify stores a notification with the id $<number>, one digit, for one of a user's
// pushers alone or, for "", for all.
func (h *house) notify(user events.UserID, room events.RoomID, number int, only events.PusherID) {
	h.t.Helper()
	n := events.Notification{
		EventID: events.EventID("$" + string(rune('0'+number))), RoomSeq: uint64(number), At: time.Now(), Only: only,
		Tweaks: []byte("{}"), Body: []byte(`{"event_id":"$` + string(rune('0'+number)) + `","prio":"low"}`),
	}
	stored := make(chan error, 1)
	batch := h.conn.NewBatch(func(_ uint64, err error) { stored <- err })
	batch.Notify(h.conn, user, room, "", n.AppendJSON(nil))
	batch.Send()
	if err := <-stored; err != nil {
		h.t.Fatal(err)
	}
}

// Beyond the limit the newest of each room is the newest that is for the pusher.
func TestCatchUpBeyondTheLimitTellsWhatIsForThePusher(t *testing.T) {
	for _, restart := range []bool{false, true} {
		bubble(t, func(t *testing.T, h *house) {
			h.cfg.CatchUpLimit = 5
			h.register("@bob:x", "gw.test", "bob")
			h.start()
			h.gateway.Answer(down())
			for number := 1; number <= 7; number++ {
				h.notify("@bob:x", "!a", number, "")
			}
			h.notify("@bob:x", "!a", 8, "another pusher")
			h.notify("@bob:x", "!b", 9, "")
			<-time.After(time.Minute)
			if restart {
				h.halt()
				h.start()
			}
			before := len(delivered(h.gateway.Pokes(), "bob"))
			h.gateway.Answer(up())
			h.calm()
			if got := delivered(h.gateway.Pokes(), "bob"); before != 0 || got != "7 9" {
				t.Errorf("restart %t: told %q, want 7 and 9", restart, got)
			}
		})
	}
}
