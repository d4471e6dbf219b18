package deliver

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"poked/dispatcher/directory"
	"poked/dispatcher/poke"
	"poked/events"
	"poked/events/eventstest"
	"poked/events/owner"
	"poked/events/partition"
	"poked/events/pushgateway"
	"poked/events/stream"
	"poked/events/wait"
)

// directoryOf returns a directory of users with a pusher each at gw.test.
func directoryOf(t *testing.T, conn *stream.Conn, users ...events.UserID) *directory.Directory {
	t.Helper()
	policy, err := pushgateway.NewPolicy([]string{"gw.test"}, nil, true)
	if err != nil {
		t.Fatal(err)
	}
	dir := directory.New(policy, slog.New(slog.DiscardHandler), conn.Topology().Partitions, func(events.UserID) {})
	for _, user := range users {
		dir.Apply(events.UserPushers{UserID: user, Pushers: []events.Pusher{eventstest.SomePusher(string(user))}})
	}
	return dir
}

// soleOwner is a deliverer of the only partition, whose users have a pusher each at gw.test.
type soleOwner struct {
	*Deliverer
	gateway *eventstest.Gateway // of its users' pushers
	t       *testing.T
	end     context.CancelFunc
	over    sync.WaitGroup
	stop    func()
	done    chan struct{} // closed when its run has ended
}

// startOwner starts a deliverer under a worker's name, without gateways: nothing that it
// sends arrives. It ends with halt.
func startOwner(t *testing.T, conn *stream.Conn, worker string, users ...events.UserID) *soleOwner {
	t.Helper()
	gateway := eventstest.StartGateway(t)
	o := &soleOwner{t: t, gateway: gateway, done: make(chan struct{})}
	gs := NewGateways(16, 4, 16, nil, func(slot func()) { o.over.Go(slot) })
	o.Deliverer = New(Config{
		Conn: conn, Worker: worker, Directory: directoryOf(t, conn, users...), Gates: gs,
		Client: poke.NewClient(gateway.Dial, time.Minute, 16), Counts: new(Counters),
		PokeTTL: time.Hour, Badge: BadgeMessages, CatchUpLimit: 100, Log: slog.New(slog.DiscardHandler),
		Recent: 1 << 20, Owned: new(atomic.Int64),
	})
	o.stop = o.Start()
	f, err := partition.NewGroup(conn).Follow(t.Context(), partition.StageDeliver, 0, worker)
	if err == nil {
		err = o.Prepare(t.Context(), f, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	o.end = cancel
	o.over.Go(func() {
		defer close(o.done)
		if err := o.Run(ctx, wait.Drain{Grace: time.Second}); err != nil {
			t.Log(worker, "ends with", err)
		}
	})
	o.over.Go(func() { gs.KeepTime(ctx, conn.TickInterval()) })
	return o
}

// halt stops the deliverer in order.
func (o *soleOwner) halt() {
	o.end()
	<-time.After(3 * time.Second)
	o.stop()
	o.Release()
	o.Gates.Close()
	o.over.Wait()
}

// unread returns what the owner says that a user has not read.
func (o *soleOwner) unread(user events.UserID) (ids []string) {
	page, _, err := o.list(o.t.Context(), owner.ListQuery{User: user, Limit: 1 << 20})
	if err != nil {
		o.t.Fatal(err)
	}
	for _, n := range page {
		ids = append(ids, fmt.Sprint(n.Seq, n.Room, n.EventID))
	}
	return ids
}
