package owners_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"poked/events"
	"poked/events/eventstest"
	"poked/events/operator"
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
			h.Server.Publish(fmt.Sprintf("$KV.POSITIONS.%s.%d", key, part), next())
		}
		victim := events.UserID(fmt.Sprintf("@victim%d:x", part))
		place := fmt.Sprintf("%d.%s", events.PartitionOf(events.Token(victim), 4), events.Token(victim))
		h.Server.Publish("$KV.PUSHERS."+place, next())
		h.Server.Publish("$KV.PUSH_RULES."+place, next())
		h.Server.Publish(fmt.Sprintf("$KV.PUSHERS.%d.no-token=", part), next())
		h.Server.Publish(fmt.Sprintf("$KV.BACKLOG.%d.nobody", part), next())
		h.Server.Publish("$KV.GATEWAYS.paused."+events.Token(fmt.Sprint("http://gw", part, ".test:80")), next())
	}
	h.Server.Publish("$KV.WORKERS.worker.ghost", next())
	h.Server.Publish("$KV.WORKERS.worker.*", next())
}

// A value in a bucket that cannot be read affects nothing else, whether it is there at the
// start or written later. It is counted, and becomes a dead letter if nothing else holds its
// content.
func TestG1OneBadValueStopsOnlyItself(t *testing.T) {
	eventstest.Long(t)
	for n := 0; n < len(badValues()); n += 5 { // each key gets other values
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			bubbleOf(t, 4, func(t *testing.T, h *harness) {
				users := h.RegisterMany(16, "gw.test", "u")
				spoil(h, n)
				h.Start()
				rooms := []events.RoomID{"!r1", "!r2", "!r3", "!r4", "!r5"}
				for _, room := range rooms {
					h.Room(room, append(users, "@alice:x")...)
					h.Say(room, "@alice:x", 0, 1)
				}
				h.Arrived(16 * len(rooms))
				spoil(h, n+1)
				for _, room := range rooms {
					h.Say(room, "@alice:x", 1, 1)
				}
				h.Arrived(2 * 16 * len(rooms))
				<-time.After(time.Minute) // nothing is repeated
				for _, room := range rooms {
					h.Say(room, "@alice:x", 2, 1)
				}
				if pokes := h.Arrived(3 * 16 * len(rooms)); len(pokes) != 3*16*len(rooms) {
					t.Errorf("%d pokes, want %d", len(pokes), 3*16*len(rooms))
				}
				if counted := h.Own.Unreadable(); counted["KV_POSITIONS"] == 0 || counted["KV_WORKERS"] == 0 || counted["KV_PUSHERS"] == 0 {
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
func deadOf(h *harness, reason events.DeadReason) (letters []operator.StoredDeadLetter) {
	h.T.Helper()
	for letter, err := range h.Operator.DeadLetters(h.T.Context(), operator.DeadFilter{Reason: reason}) {
		if err != nil {
			h.T.Fatal(err)
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
				h.Config.CatchUpLimit = 1000
				h.Register("@bob:x", "gw.test", "bob")
				h.Start()
				h.Room("!r", "@alice:x", "@bob:x")
				h.Say("!r", "@alice:x", 0, 400)
				h.Arrived(400)
				h.Halt()
				h.Say("!r", "@alice:x", 400, 1)
				for _, stage := range []string{"match", "deliver"} {
					if value == "" {
						h.Server.DeleteKey("POSITIONS", stage+".0")
						continue
					}
					h.Server.Publish("$KV.POSITIONS."+stage+".0", value)
				}
				h.Start()
				eventstest.WaitFor(t, "the last message", func() bool {
					pokes := h.Gateway.Pokes()
					return pokes[len(pokes)-1].EventID == "$r-400"
				})
				<-time.After(time.Minute)
				if n := len(h.Unread("@bob:x")); n != 401 {
					t.Errorf("%d notifications are stored, want 401", n)
				}
				h.Halt()
				if begun := strings.Count(h.Log.String(), "starting over") + strings.Count(h.Log.String(), "unreadable value"); begun != 2 {
					t.Errorf("%d positions logged as lost, want 2", begun)
				}
				pokes := len(h.Gateway.Pokes())
				h.Start() // from the position that was stored since
				<-time.After(time.Minute)
				if more := len(h.Gateway.Pokes()) - pokes; more > 0 {
					t.Errorf("%d pokes are repeated after a second start", more)
				}
			})
		})
	}
}

// A pusher whose record in BACKLOG cannot be read receives every notification that it lacks.
func TestG1LostBacklogIsCaughtUp(t *testing.T) {
	bubbleOf(t, 1, func(t *testing.T, h *harness) {
		h.Register("@bob:x", "gw.test", "bob")
		h.GatewayDown()
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		h.Say("!r", "@alice:x", 0, 3)
		eventstest.WaitFor(t, "a record", func() bool { return len(h.Server.Stored("KV_BACKLOG", "")) > 0 })
		h.Halt()
		h.GatewayUp()
		record := h.Server.Stored("KV_BACKLOG", "")[0]
		h.Server.Publish(record.Subject, "garbage")
		h.Server.Publish("$KV.BACKLOG.0.nobody", "garbage")
		h.Start()
		h.Arrived(3)
		if got := h.Delivered("bob"); got != "r-0 r-1 r-2" {
			t.Errorf("bob got %s", got)
		}
		if letters := deadOf(h, events.DeadBadValue); len(letters) != 2 || string(letters[0].Message) != "garbage" {
			t.Errorf("dead letters: %+v", letters)
		}
		eventstest.WaitFor(t, "the records to go", func() bool {
			for _, msg := range h.Server.Stored("KV_BACKLOG", "") {
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
	eventstest.Long(t)
	bubbleOf(t, 4, func(t *testing.T, h *harness) {
		h.Server.Publish("$KV.POSITIONS.match.0", "garbage")
		users := h.RegisterMany(16, "gw.test", "u")
		h.Begin()
		ready := false
		select {
		case <-h.Dispatcher.Ready():
			ready = true
		case <-time.After(10 * time.Minute):
		}
		rooms := []events.RoomID{"!r1", "!r2", "!r3", "!r4", "!r5"}
		for _, room := range rooms {
			h.Room(room, append(users, "@alice:x")...)
		}
		for _, room := range rooms {
			h.Say(room, "@alice:x", 0, 1)
		}
		<-time.After(10 * time.Minute)
		if len(h.Gateway.Pokes()) == 0 {
			t.Errorf("no poke in any of 4 partitions: ready %t, %d owned, %d followed",
				ready, h.Dispatcher.Stats().Partitions, len(h.Dispatcher.Following()))
		}
	})
}
