package directory

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"poked/events"
	"poked/events/eventstest"
	"poked/events/natstest"
	"poked/events/pushgateway"
	"poked/events/stream"
)

// A partition is gained from a real bucket while users change, the watch runs and other
// goroutines read the directory.
func TestDirectoryGainsBesideTheWatch(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, _ *natstest.Server, conn *stream.Conn) {
		policy, err := pushgateway.NewPolicy([]string{"gw.test"}, nil, true)
		if err != nil {
			t.Fatal(err)
		}
		dir := New(policy, slog.New(slog.DiscardHandler), conn.Topology().Partitions, func(events.UserID) {})
		ctx, stop := context.WithCancel(t.Context())
		var helpers sync.WaitGroup
		defer helpers.Wait()
		defer stop()
		ready := make(chan struct{})
		helpers.Go(func() {
			if err := dir.Watch(ctx, conn, func() { close(ready) }); err != nil {
				t.Error(err)
			}
		})
		<-ready
		dir.Lose(0, 1)
		const users, changes = 100, 400
		revision := map[events.UserID]int64{}
		change := func(n int) {
			user := someUser(n % users)
			p := eventstest.SomePusher("key")
			p.PushkeyTS = int64(n + 1)
			set := events.UserPushers{UserID: user, Version: p.PushkeyTS, Pushers: []events.Pusher{p}}
			if revision[user] = p.PushkeyTS; n%7 == 6 {
				set.Pushers, revision[user] = nil, 0
			}
			if err := conn.PutPushers(ctx, set); err != nil {
				t.Error(err)
			}
		}
		for n := range users {
			change(n)
		}
		helpers.Go(func() {
			for ctx.Err() == nil {
				dir.Pushers(someUser(1))
				dir.Handles(someUser(2))
				<-time.After(time.Millisecond)
			}
		})
		changed := make(chan struct{})
		helpers.Go(func() {
			for n := users; n < changes; n++ {
				change(n)
			}
			close(changed)
		})
		for range 5 {
			for part := range 2 {
				if err := dir.Gain(ctx, part, conn.PushersIn); err != nil {
					t.Fatal(err)
				}
			}
			dir.Lose(0)
		}
		<-changed
		if err := dir.Gain(ctx, 0, conn.PushersIn); err != nil {
			t.Fatal(err)
		}
		current := func() bool {
			for n := range users {
				user := someUser(n)
				got := int64(0)
				if p := dir.Pushers(user); len(p) > 0 {
					got = p[0].PushkeyTS
				}
				if got != revision[user] {
					return false
				}
			}
			return true
		}
		eventstest.WaitFor(t, "what the bucket holds", current)
	})
}
