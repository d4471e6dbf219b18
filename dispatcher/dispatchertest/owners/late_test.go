package owners_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"poked/dispatcher/dispatchertest"
	"poked/events"
	"poked/events/eventstest"
	"poked/events/natstest"
	"poked/events/partition"
)

// twoStages is two dispatchers: one matches the events of a room, the other delivers to its
// members.
type twoStages struct {
	*harness

	matching, delivering *instance
	room                 events.RoomID
}

// startTwo starts two dispatchers and finds a room that the first one matches.
func (h *harness) startTwo() *twoStages {
	h.T.Helper()
	h.Start()
	two := &twoStages{harness: h, matching: h.Instance}
	h.Begin()
	two.delivering = h.Instance
	h.Shared(5*time.Second, two.matching, two.delivering)
	for i := 0; two.room == ""; i++ {
		if id := events.RoomID(fmt.Sprintf("!r%d", i)); owns(two.matching, events.Token(id)) {
			two.room = id
		}
	}
	return two
}

func owns(l *instance, token string) bool {
	part := events.PartitionOf(token, dispatchertest.ManyParts)
	return slices.ContainsFunc(l.Dispatcher.Following(), func(f partition.Following) bool {
		return f.Stage == partition.StageDeliver.Name && f.Part == part
	})
}

// userOf returns a user to whom a dispatcher delivers.
func (two *twoStages) userOf(l *instance, name string) events.UserID {
	for i := 0; ; i++ {
		if id := events.UserID(fmt.Sprintf("@%s%d:x", name, i)); owns(l, events.Token(id)) {
			return id
		}
	}
}

// setLate sets the pushers of a user. One dispatcher learns of them seconds later, when it
// notices that its watch lost a message.
func (two *twoStages) setLate(l *instance, user events.UserID, pushkeys ...string) {
	two.T.Helper()
	l.Link.Drop("$KV.PUSHERS.")
	two.Version++
	set := events.UserPushers{UserID: user, Version: two.Version}
	for _, key := range pushkeys {
		set.Pushers = append(set.Pushers, events.Pusher{
			AppID: "app", Kind: "http", Lang: "en", Pushkey: key, PushkeyTS: two.Version, Data: dispatchertest.DataAt("gw.test"),
		})
	}
	if err := two.Conn.PutPushers(two.T.Context(), set); err != nil {
		two.T.Fatal(err)
	}
	<-time.After(100 * time.Millisecond)
}

// If deliver learns of a pusher later than match, the pusher still receives every
// notification that was decided for it, in order. No other user waits.
func TestG1PusherThatDeliverLearnsOfLater(t *testing.T) {
	eventstest.Long(t)
	for name, c := range map[string]struct {
		before, after []string
		want          map[string]string
	}{
		"first":    {nil, []string{"new"}, map[string]string{"new": "0 1"}},
		"second":   {[]string{"old"}, []string{"old", "new"}, map[string]string{"old": "0 1", "new": "0 1"}},
		"replaced": {[]string{"old"}, []string{"new"}, map[string]string{"old": "", "new": "0 1"}},
	} {
		t.Run(name, func(t *testing.T) {
			bubbleOf(t, dispatchertest.ManyParts, func(t *testing.T, h *harness) {
				two := h.startTwo()
				user, other := two.userOf(two.delivering, "u"), two.userOf(two.delivering, "other")
				h.Register(other, "gw.test", "other")
				if c.before != nil {
					h.Register(user, "gw.test", c.before...)
				}
				h.Room(two.room, "@alice:x", user, other)
				two.setLate(two.delivering, user, c.after...)
				h.Say(two.room, "@alice:x", 0, 2)
				<-time.After(200 * time.Millisecond)
				if got := h.Delivered("other"); got != two.ids("0 1") {
					t.Errorf("the other user got %q while one waits", got)
				}
				<-time.After(time.Minute)
				for key, want := range c.want {
					if got := h.Delivered(key); got != two.ids(want) {
						t.Errorf("%s got %q, want %q", key, got, want)
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
	two.T.Helper()
	for _, l := range []*instance{two.matching, two.delivering} {
		for _, f := range l.Dispatcher.Following() {
			if f.Open != 0 {
				two.T.Errorf("%s of partition %d has %d messages open", f.Stage, f.Part, f.Open)
			}
		}
	}
}

// A notification that waits for its pusher is not done: the next owner delivers it, once.
func TestG1PusherNotKnownBeforeAStop(t *testing.T) {
	for name, end := range map[string]func(*instance){"stop": (*instance).Halt, "kill": (*instance).Kill} {
		t.Run(name, func(t *testing.T) {
			bubbleOf(t, dispatchertest.ManyParts, func(t *testing.T, h *harness) {
				two := h.startTwo()
				user := two.userOf(two.delivering, "u")
				h.Room(two.room, "@alice:x", user)
				two.setLate(two.delivering, user, "new")
				h.Say(two.room, "@alice:x", 0, 3)
				<-time.After(500 * time.Millisecond)
				if n := len(h.Gateway.Pokes()); n != 0 {
					t.Fatalf("%d pokes before deliver knows of the pusher", n)
				}
				end(two.delivering)
				<-time.After(30 * time.Second)
				if got := h.Delivered("new"); got != two.ids("0 1 2") {
					t.Errorf("got %q", got)
				}
			})
		})
	}
}

// An event that is read before deliver learns of the pusher is not sent.
func TestReadBeforeThePusherIsKnown(t *testing.T) {
	bubbleOf(t, dispatchertest.ManyParts, func(t *testing.T, h *harness) {
		two := h.startTwo()
		user := two.userOf(two.delivering, "u")
		h.Room(two.room, "@alice:x", user)
		two.setLate(two.delivering, user, "new")
		h.Say(two.room, "@alice:x", 0, 2)
		h.Receipt(two.room, user, "m.read", events.EventID("$"+two.ids("1")), "")
		h.Say(two.room, "@alice:x", 2, 1)
		<-time.After(time.Minute)
		pokes := h.Gateway.Pokes()
		if last := pokes[len(pokes)-1]; last.Unread != 1 || last.EventID != events.EventID("$"+two.ids("2")) {
			t.Errorf("the last poke was for %s, with %d unread", last.EventID, last.Unread)
		}
		two.nothingOpen()
	})
}

// Deliver does not wait for a revision that PUSHERS does not have: the bucket was created
// again and counts from 1.
func TestRevisionThatNeverArrives(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Register("@bob:x", "gw.test", "bob")
		h.Start()
		n := events.Notification{
			About: events.About{EventID: "$r-0", RoomSeq: 1, At: time.Now()}, RuleID: "rule", Tweaks: []byte(`{}`), Body: []byte(`{"event_id":"$r-0"}`),
		}
		for _, user := range []events.UserID{"@bob:x", "@nobody:x"} {
			m := n.Log(user, "!r")
			m.Users[0].PushersRevision = 1 << 40
			natstest.Store(t, h.Conn, user, m.AppendJSON(nil))
		}
		<-time.After(5 * time.Second)
		if got := h.Delivered("bob"); got != "r-0" {
			t.Errorf("got %q", got)
		}
		for _, f := range h.Dispatcher.Following() {
			if f.Open != 0 {
				t.Errorf("%s of partition %d has %d messages open", f.Stage, f.Part, f.Open)
			}
		}
	})
}

// A worker that does not yet know a lagging pusher does not delete its record as that of a
// removed one.
func TestG1LaggingPusherThatTheSuccessorLearnsOfLater(t *testing.T) {
	eventstest.Long(t)
	bubbleOf(t, dispatchertest.ManyParts, func(t *testing.T, h *harness) {
		h.GatewayDown()
		two := h.startTwo()
		// The first dispatcher was alone and keeps all pushers in full for some seconds more:
		// it does not load those of a partition that comes back.
		user := two.userOf(two.delivering, "u")
		h.Room(two.room, "@alice:x", user)
		two.setLate(two.matching, user, "new")
		room := events.RoomID("!other")
		for i := 0; !owns(two.delivering, events.Token(room)); i++ {
			room = events.RoomID(fmt.Sprintf("!other%d", i))
		}
		h.Room(room, "@alice:x", user)
		h.Say(room, "@alice:x", 0, 2)
		<-time.After(time.Second)
		if h.Backlog() != 1 {
			t.Fatalf("%d pushers lag", h.Backlog())
		}
		two.delivering.Halt()
		<-time.After(time.Second)
		h.GatewayUp()
		<-time.After(10 * time.Minute)
		two.room = room
		if got := h.Delivered("new"); got != two.ids("0 1") {
			t.Errorf("got %q", got)
		}
	})
}

// A lane that lags after a takeover catches up from the log. It does not send the
// notifications again that the previous owner left open.
func TestG2LeftOpenAndCaughtUpIsSentOnce(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Register("@bob:x", "gw.test", "lags", "hangs")
		eve := events.UserID("@eve:x")
		part := func(user events.UserID) int {
			return events.PartitionOf(events.Token(user), h.Conn.Topology().Partitions)
		}
		for i := 0; part(eve) != part("@bob:x"); i++ {
			eve = events.UserID(fmt.Sprintf("@eve%d:x", i))
		}
		h.Register(eve, "gw.test", "eve")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x", eve)
		h.Gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
			switch p.Pushkey {
			case "lags":
				return eventstest.Reply{Status: http.StatusBadGateway}
			case "hangs":
				return eventstest.Reply{After: time.Minute}
			}
			return eventstest.Reply{} // so that the position is stored, with what is open
		})
		h.Say("!r", "@alice:x", 0, 1)
		<-time.After(500 * time.Millisecond)
		h.Kill()
		h.GatewayUp()
		h.Begin()
		h.Link.Refuse("$JS.API.CONSUMER.CREATE.NOTIFICATIONS", 8) // the log is read before it is followed
		<-time.After(time.Minute)
		if got := h.Delivered("lags"); got != "r-0" {
			t.Errorf("got %q", got)
		}
	})
}
