package stream_test

import (
	"testing"
	"testing/synctest"
	"time"

	"poked/events"
	"poked/events/eventstest"
	"poked/events/natstest"
	"poked/events/pushrule"
	"poked/events/stream"
)

// The buckets keep a marker for a user without pushers or push rules until no
// notification of the user can be left, and then nothing.
func TestG7RemovedPushersLeaveNoMarker(t *testing.T) {
	eventstest.Long(t)
	synctest.Test(t, func(t *testing.T) {
		server := natstest.StartServer(t)
		conn := server.Connect(natstest.Topology())
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
		<-time.After(stream.LongestKeep - time.Hour)
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
