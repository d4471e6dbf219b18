package dispatcher

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"poked/events"
	"poked/events/eventstest"
)

// twoStages is two dispatchers, one of which matches what the other delivers.
type twoStages struct {
	*house

	matching, delivering *life
	room                 events.RoomID
}

// startTwo starts two dispatchers and finds a room that the first one matches.
func (h *house) startTwo() *twoStages {
	h.t.Helper()
	h.start()
	two := &twoStages{house: h, matching: h.life}
	h.begin()
	two.delivering = h.life
	h.shared(5*time.Second, two.matching, two.delivering)
	for i := 0; two.room == ""; i++ {
		if id := events.RoomID(fmt.Sprintf("!r%d", i)); owns(two.matching, events.Token(id)) {
			two.room = id
		}
	}
	return two
}

func owns(l *life, token string) bool {
	return l.d.current.Load().at(events.PartitionOf(token, manyParts)) != nil
}

// someone returns a user to whom a dispatcher delivers.
func (two *twoStages) someone(l *life, name string) events.UserID {
	for i := 0; ; i++ {
		if id := events.UserID(fmt.Sprintf("@%s%d:x", name, i)); owns(l, events.Token(id)) {
			return id
		}
	}
}

// setUnheard makes pushkeys the pushers of a user, of which one dispatcher hears only
// when it notices that something of its watch was lost, seconds later.
func (two *twoStages) setUnheard(l *life, user events.UserID, pushkeys ...string) {
	two.t.Helper()
	l.link.Drop("$KV.PUSHERS.")
	two.version++
	set := events.UserPushers{UserID: user, Version: two.version}
	for _, key := range pushkeys {
		set.Pushers = append(set.Pushers, events.Pusher{
			AppID: "app", Kind: "http", Lang: "en", Pushkey: key, PushkeyTS: two.version, Data: dataAt("gw.test"),
		})
	}
	if err := two.conn.PutPushers(two.t.Context(), set); err != nil {
		two.t.Fatal(err)
	}
	<-time.After(100 * time.Millisecond)
}

// A pusher of which deliver hears later than match is told what was decided for it,
// after what came before and before what comes after. Nobody else waits.
func TestG1PusherThatDeliverHearsOfLater(t *testing.T) {
	for name, c := range map[string]struct {
		before, after []string
		want          map[string]string
	}{
		"first":    {nil, []string{"new"}, map[string]string{"new": "0 1"}},
		"second":   {[]string{"old"}, []string{"old", "new"}, map[string]string{"old": "0 1", "new": "0 1"}},
		"replaced": {[]string{"old"}, []string{"new"}, map[string]string{"old": "", "new": "0 1"}},
	} {
		t.Run(name, func(t *testing.T) {
			bubbleOf(t, manyParts, func(t *testing.T, h *house) {
				two := h.startTwo()
				user, other := two.someone(two.delivering, "u"), two.someone(two.delivering, "other")
				h.register(other, "gw.test", "other")
				if c.before != nil {
					h.register(user, "gw.test", c.before...)
				}
				h.room(two.room, "@alice:x", user, other)
				two.setUnheard(two.delivering, user, c.after...)
				h.say(two.room, "@alice:x", 0, 2)
				<-time.After(200 * time.Millisecond)
				if got := delivered(h.gateway.Pokes(), "other"); got != two.ids("0 1") {
					t.Errorf("the other user was told %q while one waits", got)
				}
				<-time.After(time.Minute)
				for key, want := range c.want {
					if got := delivered(h.gateway.Pokes(), key); got != two.ids(want) {
						t.Errorf("%s was told %q, want %q", key, got, want)
					}
				}
				two.nothingOpen()
			})
		})
	}
}

// ids returns the event ids of messages with these numbers.
func (two *twoStages) ids(numbers string) (ids string) {
	for _, n := range numbers {
		if n == ' ' {
			ids += " "
			continue
		}
		ids += string(two.room[1:]) + "-" + string(n)
	}
	return ids
}

func (two *twoStages) nothingOpen() {
	two.t.Helper()
	for _, l := range []*life{two.matching, two.delivering} {
		for _, f := range l.d.Following() {
			if f.Open != 0 {
				two.t.Errorf("%s of partition %d has %d messages open", f.Stage, f.Part, f.Open)
			}
		}
	}
}

// What waits for a pusher is open: it is told by whoever comes next, once.
func TestG1PusherNotHeardOfBeforeAStop(t *testing.T) {
	for name, end := range map[string]func(*life){"stop": (*life).halt, "death": (*life).kill} {
		t.Run(name, func(t *testing.T) {
			bubbleOf(t, manyParts, func(t *testing.T, h *house) {
				two := h.startTwo()
				user := two.someone(two.delivering, "u")
				h.room(two.room, "@alice:x", user)
				two.setUnheard(two.delivering, user, "new")
				h.say(two.room, "@alice:x", 0, 3)
				<-time.After(500 * time.Millisecond)
				if n := len(h.gateway.Pokes()); n != 0 {
					t.Fatalf("%d pokes before deliver can know of the pusher", n)
				}
				end(two.delivering)
				<-time.After(30 * time.Second)
				if got := delivered(h.gateway.Pokes(), "new"); got != two.ids("0 1 2") {
					t.Errorf("told %q", got)
				}
			})
		})
	}
}

// What is read before its pusher is heard of is not told.
func TestReadBeforeThePusherIsHeardOf(t *testing.T) {
	bubbleOf(t, manyParts, func(t *testing.T, h *house) {
		two := h.startTwo()
		user := two.someone(two.delivering, "u")
		h.room(two.room, "@alice:x", user)
		two.setUnheard(two.delivering, user, "new")
		h.say(two.room, "@alice:x", 0, 2)
		h.receipt(two.room, user, "m.read", events.EventID("$"+two.ids("1")), "")
		h.say(two.room, "@alice:x", 2, 1)
		<-time.After(time.Minute)
		pokes := h.gateway.Pokes()
		if last := pokes[len(pokes)-1]; last.Unread != 1 || last.EventID != events.EventID("$"+two.ids("2")) {
			t.Errorf("the last poke was of %s, with %d unread", last.EventID, last.Unread)
		}
		two.nothingOpen()
	})
}

// A revision that PUSHERS has not got, for it was made anew and counts from 1, is not
// waited for.
func TestRevisionThatIsNeverHeardOf(t *testing.T) {
	bubble(t, func(t *testing.T, h *house) {
		h.register("@bob:x", "gw.test", "bob")
		h.start()
		n := events.Notification{
			EventID: "$r-0", RoomSeq: 1, At: time.Now(), RuleID: "rule", Tweaks: []byte(`{}`), Body: []byte(`{"event_id":"$r-0"}`),
			PushersRevision: 1 << 40,
		}
		for _, user := range []events.UserID{"@bob:x", "@nobody:x"} {
			done := make(chan error, 1)
			batch := h.conn.NewBatch(func(_ uint64, err error) { done <- err })
			batch.Notify(h.conn, user, "!r", "", n.AppendJSON(nil))
			batch.Send()
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		<-time.After(5 * time.Second)
		if got := delivered(h.gateway.Pokes(), "bob"); got != "r-0" {
			t.Errorf("told %q", got)
		}
		for _, f := range h.d.Following() {
			if f.Open != 0 {
				t.Errorf("%s of partition %d has %d messages open", f.Stage, f.Part, f.Open)
			}
		}
	})
}

// The record of a pusher that lags is not taken for that of one which is gone, by a
// worker that has yet to hear of the pusher.
func TestG1LaggingPusherThatTheSuccessorHearsOfLater(t *testing.T) {
	bubbleOf(t, manyParts, func(t *testing.T, h *house) {
		h.gateway.Answer(down())
		two := h.startTwo()
		// The first was alone, and knows all pushers in full for some seconds more: it
		// does not read those of a partition that comes back.
		user := two.someone(two.delivering, "u")
		h.room(two.room, "@alice:x", user)
		two.setUnheard(two.matching, user, "new")
		room := events.RoomID("!other")
		for i := 0; !owns(two.delivering, events.Token(room)); i++ {
			room = events.RoomID(fmt.Sprintf("!other%d", i))
		}
		h.room(room, "@alice:x", user)
		h.say(room, "@alice:x", 0, 2)
		<-time.After(time.Second)
		if h.backlog() != 1 {
			t.Fatalf("%d pushers lag", h.backlog())
		}
		two.delivering.halt()
		<-time.After(time.Second)
		h.gateway.Answer(up())
		<-time.After(10 * time.Minute)
		two.room = room
		if got := delivered(h.gateway.Pokes(), "new"); got != two.ids("0 1") {
			t.Errorf("told %q", got)
		}
	})
}

// A lane that was found lagging tells what its predecessor left open from the log, and
// not again when that comes by.
func TestG2LeftOpenAndCaughtUpIsToldOnce(t *testing.T) {
	bubble(t, func(t *testing.T, h *house) {
		h.register("@bob:x", "gw.test", "lags", "hangs")
		eve := events.UserID("@eve:x")
		part := func(user events.UserID) int { return events.PartitionOf(events.Token(user), h.conn.Partitions()) }
		for i := 0; part(eve) != part("@bob:x"); i++ {
			eve = events.UserID(fmt.Sprintf("@eve%d:x", i))
		}
		h.register(eve, "gw.test", "eve")
		h.start()
		h.room("!r", "@alice:x", "@bob:x", eve)
		h.gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
			switch p.Pushkey {
			case "lags":
				return eventstest.Reply{Status: http.StatusBadGateway}
			case "hangs":
				return eventstest.Reply{After: time.Minute}
			}
			return eventstest.Reply{} // and the position is stored, which names what is open
		})
		h.say("!r", "@alice:x", 0, 1)
		<-time.After(500 * time.Millisecond)
		h.kill()
		h.gateway.Answer(up())
		h.begin()
		h.link.Refuse("$JS.API.CONSUMER.CREATE.NOTIFICATIONS", 8) // the log is read before it is followed
		<-time.After(time.Minute)
		if got := delivered(h.gateway.Pokes(), "lags"); got != "r-0" {
			t.Errorf("told %q", got)
		}
	})
}
