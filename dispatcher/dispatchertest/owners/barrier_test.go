package owners_test

import (
	"testing"
	"time"

	"poked/dispatcher/dispatchertest"
	"poked/events"
	"poked/events/stream"
)

// publishBarrier publishes a barrier with the newest revisions.
func publishBarrier(t *testing.T, conn *stream.Conn) {
	t.Helper()
	b, err := conn.Revisions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.PublishBarrier(t.Context(), b); err != nil {
		t.Fatal(err)
	}
}

// What the registry has published before a barrier is in effect for the events after it, also
// if match learns of it later.
func TestG1PusherThatMatchLearnsOfLater(t *testing.T) {
	bubbleOf(t, dispatchertest.ManyParts, func(t *testing.T, h *harness) {
		two := h.startTwo()
		user := two.userOf(two.delivering, "u")
		h.Room(two.room, "@alice:x", user)
		two.setLate(two.matching, user, "new")
		publishBarrier(t, h.Conn)
		h.Say(two.room, "@alice:x", 0, 2)
		<-time.After(time.Minute)
		if got := h.Delivered("new"); got != two.ids("0 1") {
			t.Errorf("got %q", got)
		}
		two.nothingOpen()
	})
}

// Push rules likewise.
func TestRulesThatMatchLearnsOfLater(t *testing.T) {
	bubbleOf(t, dispatchertest.ManyParts, func(t *testing.T, h *harness) {
		two := h.startTwo()
		user := two.userOf(two.delivering, "u")
		h.Register(user, "gw.test", "key")
		h.Room(two.room, "@alice:x", user)
		h.Say(two.room, "@alice:x", 0, 1)
		two.matching.Link.Drop("$KV.PUSH_RULES.")
		two.Version++
		if err := h.Conn.PutPushRules(t.Context(), events.UserPushRules{UserID: user, Version: two.Version, Changes: dispatchertest.Master()}); err != nil {
			t.Fatal(err)
		}
		<-time.After(100 * time.Millisecond)
		publishBarrier(t, h.Conn)
		h.Say(two.room, "@alice:x", 1, 2)
		<-time.After(time.Minute)
		if got := h.Delivered("key"); got != two.ids("0") {
			t.Errorf("got %q", got)
		}
		two.nothingOpen()
	})
}

// Match does not wait for revisions that the buckets do not have, nor for a barrier that
// cannot be read.
func TestBarrierThatNeverArrives(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Register("@bob:x", "gw.test", "bob")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		for _, subject := range events.BarrierSubjects(h.Conn.Topology().Partitions) {
			h.Server.Publish(subject, `{"pushers":1099511627776,"push_rules":1099511627776}`)
			h.Server.Publish(subject, `[]`)
		}
		h.Say("!r", "@alice:x", 0, 1)
		<-time.After(5 * time.Second)
		if got := h.Delivered("bob"); got != "r-0" {
			t.Errorf("got %q", got)
		}
		if dead := h.Dead(); len(dead) != h.Conn.Topology().Partitions || dead[0].Reason != events.DeadBadEvent {
			t.Errorf("dead letters %v", dead)
		}
	})
}
