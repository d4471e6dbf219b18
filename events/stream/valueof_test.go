package stream_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"poked/events"
	"poked/events/natstest"
	"poked/events/pushrule"
)

// An operator sees the rules of a user as they were at a time, as far as they are kept, and
// everyone else the newest.
func TestPushRulesAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := natstest.StartServer(t).Connect(natstest.Topology())
		began := time.Now()
		at := func(minute int) time.Time { return began.Add(time.Duration(minute)*time.Minute + 30*time.Second) }
		put := func(version int64) {
			t.Helper()
			on := true
			set := events.UserPushRules{UserID: "@a:x", Version: version, Changes: pushrule.Changes{Predefined: map[string]pushrule.Change{
				fmt.Sprint(".m.rule.", version): {Enabled: &on},
			}}}
			if err := conn.PutPushRules(t.Context(), set); err != nil {
				t.Fatal(err)
			}
		}
		want := func(minute int, version int64, later bool) {
			t.Helper()
			got, err := conn.PushRulesAt(t.Context(), "@a:x", at(minute))
			if err != nil || got.Version != version || got.Later.IsZero() == later {
				t.Errorf("at minute %d: version %d, changed later at %v, %v; want version %d", minute, got.Version, got.Later, err, version)
			}
		}
		want(0, 0, false)
		for version := int64(1); version <= 4; version++ { // in minutes 1 to 4
			<-time.After(time.Minute)
			put(version)
		}
		for minute := range 6 {
			want(minute, min(int64(minute), 4), false)
		}
		for version := int64(5); version <= 10; version++ {
			<-time.After(time.Minute)
			put(version)
		}
		want(10, 10, false)
		want(3, 3, false) // the oldest of eight
		want(2, 10, true)
		n := 0
		for set, err := range conn.AllPushRules(t.Context()) {
			if n++; err != nil || set.Version != 10 {
				t.Errorf("all: version %d, %v", set.Version, err)
			}
		}
		if n != 1 {
			t.Errorf("%d values of one user", n)
		}
		if err := conn.PutPushRules(t.Context(), events.UserPushRules{UserID: "@a:x", Version: 11}); err != nil {
			t.Fatal(err)
		}
		want(5, 0, true) // what is deleted is not kept
	})
}
