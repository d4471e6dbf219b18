package stream_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"

	"poked/events"
	"poked/events/natstest"
	"poked/events/pushrule"
)

// Dispatchers hear what is offered before they begin, and each change; what cannot be read changes
// nothing, and no reader takes the key for a user's.
func TestOfferedRules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := natstest.StartServer(t)
		conn := server.Connect(natstest.Topology())
		put := func(offers pushrule.Offers) {
			t.Helper()
			if err := conn.PutOfferedRules(t.Context(), offers); err != nil {
				t.Fatal(err)
			}
		}
		put(0) // there is nothing to clear
		put(pushrule.MSC4028)
		if err := conn.PutPushRules(t.Context(), events.UserPushRules{UserID: "@a:x", Version: 1, IgnoredUsers: []events.UserID{"@b:x"}}); err != nil {
			t.Fatal(err)
		}

		ctx, cancel := context.WithCancel(t.Context())
		heard, users, begun := []pushrule.Offers{}, []events.UserID{}, 0
		var newest uint64
		ended := make(chan error)
		go func() {
			ended <- conn.WatchPushRules(ctx, func(set events.UserPushRules) {
				users, newest = append(users, set.UserID), max(newest, set.Revision)
			}, func(o pushrule.Offers) { heard = append(heard, o) }, func() { begun = len(heard) })
		}()
		synctest.Wait()
		for _, value := range []string{`{"offered":["msc3930","msc9999"]}`, `{"offered":7}`, `[]`} {
			server.Publish("$KV.PUSH_RULES.offered", value)
		}
		synctest.Wait()
		put(pushrule.MSC3930 | pushrule.MSC4028)
		put(pushrule.MSC3930 | pushrule.MSC4028) // changes nothing
		put(0)
		synctest.Wait()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if want := []pushrule.Offers{pushrule.MSC4028, pushrule.MSC3930, pushrule.MSC3930 | pushrule.MSC4028, 0}; !slices.Equal(heard, want) || begun != 1 {
			t.Errorf("heard %v, %d before the beginning; want %v, 1", heard, begun, want)
		}
		if b, err := conn.Revisions(t.Context()); err != nil || b.PushRules != newest {
			t.Errorf("saw revisions up to %d, the bucket has %d (%v)", newest, b.PushRules, err)
		}
		if named := slices.DeleteFunc(users, func(u events.UserID) bool { return u == "" }); !slices.Equal(named, []events.UserID{"@a:x"}) {
			t.Errorf("heard of the users %q", named)
		}
		put(pushrule.MSC3930)
		if got, err := conn.OfferedRules(t.Context()); got != pushrule.MSC3930 || err != nil {
			t.Errorf("read %v, %v", got, err)
		}
		for set, err := range conn.AllPushRules(t.Context()) {
			if err != nil || set.UserID != "@a:x" {
				t.Errorf("the bucket has %+v, %v", set, err)
			}
		}
		if n := conn.Unreadable()["KV_PUSH_RULES"]; n != 3 { // what was published above
			t.Errorf("%d values are unreadable", n)
		}
	})
}

// A bucket that was made anew offers nothing until the registry has written to it.
func TestOfferedRulesOfABucketMadeAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := natstest.StartServer(t).Connect(natstest.Topology())
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		heard := []pushrule.Offers{}
		go func() {
			_ = conn.WatchPushRules(ctx, func(events.UserPushRules) {}, func(o pushrule.Offers) { heard = append(heard, o) }, func() {})
		}()
		synctest.Wait()
		if !slices.Equal(heard, []pushrule.Offers{0}) {
			t.Errorf("heard %v", heard)
		}
	})
}
