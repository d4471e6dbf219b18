package stream_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"poked/events"
	"poked/events/eventstest"
	"poked/events/pushrule"
	"poked/events/stream"
)

// The buckets keep a marker for a user without pushers or push rules until no
// notification of the user can be left, and then nothing.
func TestG7RemovedPushersLeaveNoMarker(t *testing.T) {
	eventstest.Long(t)
	synctest.Test(t, func(t *testing.T) {
		server := eventstest.StartServer(t)
		conn := server.Connect(eventstest.Topology())
		pushers := events.UserPushers{UserID: "@a:x", Version: 1, Pushers: []events.Pusher{{AppID: "app", Pushkey: "k"}}}
		rules := events.UserPushRules{UserID: "@a:x", Version: 1, Published: &pushrule.Ruleset{}}
		put := func() {
			t.Helper()
			if err := conn.PutPushers(t.Context(), pushers); err != nil {
				t.Fatal(err)
			}
			if err := conn.PutPushRules(t.Context(), rules); err != nil {
				t.Fatal(err)
			}
		}
		put()
		pushers.Pushers, rules.Published = nil, nil
		put()
		_ = conn.Close()
		stored := func() int { return len(server.Stored("KV_PUSHERS", "")) + len(server.Stored("KV_PUSH_RULES", "")) }
		// The week costs little while the server is stopped.
		server.Stop()
		<-time.After(stream.NotificationsKept - time.Hour)
		server.Start()
		<-time.After(time.Minute) // until it has removed what expired meanwhile
		if n := stored(); n != 2 {
			t.Errorf("%d markers after nearly a week, want 2", n)
		}
		<-time.After(2 * time.Hour)
		if n := stored(); n != 0 {
			t.Errorf("%d markers after a week", n)
		}
	})
}

// A log that changes during each count is counted only a few times.
func TestUnreadOfALogThatKeepsChanging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := eventstest.StartServer(t).Connect(eventstest.Topology())
		// With so many rooms, counting takes longer than storing a notification.
		const before, many = 5000, 10_000
		n := eventstest.Notification()
		stored := make(chan error, 1)
		batch := conn.NewBatch(func(_ uint64, err error) { stored <- err })
		for i := range before {
			batch.Notify(conn, "@a:x", events.RoomID(fmt.Sprintf("!r%d", i)), "", n.AppendJSON(nil))
		}
		batch.Send()
		if err := <-stored; err != nil {
			t.Fatal(err)
		}
		var notified atomic.Int64
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for i := range uint64(many) {
				notify(t, conn, "@a:x", "!r", i+1)
				notified.Add(1)
			}
		}()
		_, _, err := conn.Unread(t.Context(), "@a:x")
		at := notified.Load()
		<-ended
		if err != nil || at > many/2 {
			t.Errorf("the count returned after %d of %d (%v)", at, many, err)
		}
		if count, upTo, err := conn.Unread(t.Context(), "@a:x"); err != nil || count.Unsettled || count.Messages != before+many || upTo != before+many {
			t.Errorf("at rest %+v up to %d are unread (%v)", count.Messages, upTo, err)
		}
	})
}
