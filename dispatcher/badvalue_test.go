package dispatcher

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"poked/events"
	"poked/events/eventstest"
	"poked/events/stream"
)

// badValues returns values that no bucket should hold.
func badValues() []string {
	return []string{
		"garbage", "", "null", "{}", "[]", `"*"`, "\x00\xff", "> * .", `{"next":-1}`, `{"next":5,"open":[9,2,2]}`,
		`{"user_id":1}`, `{"user_id":"@other:x"}`, `{"origin":"x"}`, `{"pushers":{}}`, strings.Repeat("[", 100_000),
	}
}

// spoil writes bad values under every kind of key that a dispatcher of four partitions reads,
// but not under keys that the test needs.
func spoil(h *harness, n int) {
	bad := badValues()
	next := func() string { n++; return bad[n%len(bad)] }
	for part := range 4 {
		for _, key := range []string{"match", "deliver", "part"} {
			h.server.Publish(fmt.Sprintf("$KV.POSITIONS.%s.%d", key, part), next())
		}
		victim := events.UserID(fmt.Sprintf("@victim%d:x", part))
		place := fmt.Sprintf("%d.%s", events.PartitionOf(events.Token(victim), 4), events.Token(victim))
		h.server.Publish("$KV.PUSHERS."+place, next())
		h.server.Publish("$KV.PUSH_RULES."+place, next())
		h.server.Publish(fmt.Sprintf("$KV.PUSHERS.%d.no-token=", part), next())
		h.server.Publish(fmt.Sprintf("$KV.BACKLOG.%d.nobody", part), next())
		h.server.Publish("$KV.GATEWAYS.paused."+events.Token(fmt.Sprint("http://gw", part, ".test:80")), next())
	}
	h.server.Publish("$KV.WORKERS.worker.ghost", next())
	h.server.Publish("$KV.WORKERS.worker.*", next())
}

// A value in a bucket that cannot be read affects nothing else, whether it is there at the
// start or written later. It is counted, and becomes a dead letter if nothing else holds its
// content.
func TestG1OneBadValueStopsOnlyItself(t *testing.T) {
	for n := 0; n < len(badValues()); n += 5 { // each key gets other values
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			bubbleOf(t, 4, func(t *testing.T, h *harness) {
				users := h.registerMany(16, "gw.test", "u")
				spoil(h, n)
				h.start()
				rooms := []events.RoomID{"!r1", "!r2", "!r3", "!r4", "!r5"}
				for _, room := range rooms {
					h.room(room, append(users, "@alice:x")...)
					h.say(room, "@alice:x", 0, 1)
				}
				h.arrived(16 * len(rooms))
				spoil(h, n+1)
				for _, room := range rooms {
					h.say(room, "@alice:x", 1, 1)
				}
				h.arrived(2 * 16 * len(rooms))
				<-time.After(time.Minute) // nothing is repeated
				for _, room := range rooms {
					h.say(room, "@alice:x", 2, 1)
				}
				if pokes := h.arrived(3 * 16 * len(rooms)); len(pokes) != 3*16*len(rooms) {
					t.Errorf("%d pokes, want %d", len(pokes), 3*16*len(rooms))
				}
				if counted := h.own.Unreadable(); counted["KV_POSITIONS"] == 0 || counted["KV_WORKERS"] == 0 || counted["KV_PUSHERS"] == 0 {
					t.Errorf("counted: %v", counted)
				}
				if letters := deadOf(h, events.DeadBadValue); len(letters) < 2*4 {
					t.Errorf("%d values are kept as dead letters", len(letters))
				}
			})
		})
	}
}

// deadOf returns the dead letters with a reason.
func deadOf(h *harness, reason events.DeadReason) (letters []stream.StoredDeadLetter) {
	h.t.Helper()
	for letter, err := range h.conn.DeadLetters(h.t.Context(), stream.DeadFilter{Reason: reason}) {
		if err != nil {
			h.t.Fatal(err)
		}
		letters = append(letters, letter)
	}
	return letters
}

// A partition without its position starts over with what the stream has: messages that were
// not processed are, and no notification is stored twice.
func TestG1LostPositionStartsOver(t *testing.T) {
	eventstest.Long(t)
	for name, value := range map[string]string{"unreadable": "garbage", "deleted": ""} {
		t.Run(name, func(t *testing.T) {
			bubbleOf(t, 1, func(t *testing.T, h *harness) {
				h.cfg.CatchUpLimit = 1000
				h.register("@bob:x", "gw.test", "bob")
				h.start()
				h.room("!r", "@alice:x", "@bob:x")
				h.say("!r", "@alice:x", 0, 400)
				h.arrived(400)
				h.halt()
				h.say("!r", "@alice:x", 400, 1)
				for _, stage := range []string{"match", "deliver"} {
					if value == "" {
						h.server.DeleteKey("POSITIONS", stage+".0")
						continue
					}
					h.server.Publish("$KV.POSITIONS."+stage+".0", value)
				}
				h.start()
				eventstest.WaitFor(t, "the last message", func() bool {
					pokes := h.gateway.Pokes()
					return pokes[len(pokes)-1].EventID == "$r-400"
				})
				<-time.After(time.Minute)
				if n := len(h.server.Stored("NOTIFICATIONS", "notify.")); n != 401 {
					t.Errorf("%d notifications are stored, want 401", n)
				}
				h.halt()
				if begun := strings.Count(h.log.String(), "starting over") + strings.Count(h.log.String(), "unreadable value"); begun != 2 {
					t.Errorf("%d positions logged as lost, want 2", begun)
				}
				pokes := len(h.gateway.Pokes())
				h.start() // from the position that was stored since
				<-time.After(time.Minute)
				if more := len(h.gateway.Pokes()) - pokes; more > 0 {
					t.Errorf("%d pokes are repeated after a second start", more)
				}
			})
		})
	}
}

// A pusher whose record in BACKLOG cannot be read receives every notification that it lacks.
func TestG1LostBacklogIsCaughtUp(t *testing.T) {
	bubbleOf(t, 1, func(t *testing.T, h *harness) {
		h.register("@bob:x", "gw.test", "bob")
		h.gateway.Answer(down())
		h.start()
		h.room("!r", "@alice:x", "@bob:x")
		h.say("!r", "@alice:x", 0, 3)
		eventstest.WaitFor(t, "a record", func() bool { return len(h.server.Stored("KV_BACKLOG", "")) > 0 })
		h.halt()
		h.gateway.Answer(up())
		record := h.server.Stored("KV_BACKLOG", "")[0]
		h.server.Publish(record.Subject, "garbage")
		h.server.Publish("$KV.BACKLOG.0.nobody", "garbage")
		h.start()
		h.arrived(3)
		if got := delivered(h.gateway.Pokes(), "bob"); got != "r-0 r-1 r-2" {
			t.Errorf("bob got %s", got)
		}
		if letters := deadOf(h, events.DeadBadValue); len(letters) != 2 || string(letters[0].Message) != "garbage" {
			t.Errorf("dead letters: %+v", letters)
		}
		eventstest.WaitFor(t, "the records to go", func() bool {
			for _, msg := range h.server.Stored("KV_BACKLOG", "") {
				if len(msg.Data) > 0 {
					return false
				}
			}
			return true
		})
	})
}

// A position that cannot be read stops its own partition and no other.
func TestG1OneBadPositionStopsOnlyItself(t *testing.T) {
	bubbleOf(t, 4, func(t *testing.T, h *harness) {
		h.server.Publish("$KV.POSITIONS.match.0", "garbage")
		users := h.registerMany(16, "gw.test", "u")
		h.begin()
		ready := false
		select {
		case <-h.d.Ready():
			ready = true
		case <-time.After(10 * time.Minute):
		}
		rooms := []events.RoomID{"!r1", "!r2", "!r3", "!r4", "!r5"}
		for _, room := range rooms {
			h.room(room, append(users, "@alice:x")...)
		}
		for _, room := range rooms {
			h.say(room, "@alice:x", 0, 1)
		}
		<-time.After(10 * time.Minute)
		if len(h.gateway.Pokes()) == 0 {
			t.Errorf("no poke in any of 4 partitions: ready %t, %d owned, %d followed",
				ready, h.d.Stats().Partitions, len(h.d.Following()))
		}
	})
}
