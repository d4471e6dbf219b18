package deliver

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"poked/dispatcher/directory"
	"poked/dispatcher/poke"
	"poked/events"
	"poked/events/eventstest"
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
	dir := directory.New(policy, slog.New(slog.DiscardHandler), conn.Partitions(), func(events.UserID) {})
	for _, user := range users {
		dir.Apply(events.UserPushers{UserID: user, Pushers: []events.Pusher{eventstest.SomePusher(string(user))}})
	}
	return dir
}

// startAlone starts the deliverer of the only partition, whose users have a pusher each
// at gw.test. It ends with the test.
func startAlone(t *testing.T, conn *stream.Conn, dial poke.DialFunc, users ...events.UserID) *Deliverer {
	t.Helper()
	dir, log := directoryOf(t, conn, users...), slog.New(slog.DiscardHandler)
	var working sync.WaitGroup
	gs := NewGateways(16, 4, 16, nil, func(slot func()) { working.Go(slot) })
	d := New(Config{
		Conn: conn, Worker: "test", Directory: dir, Gates: gs, Client: poke.NewClient(dial, time.Minute, 16), Counts: new(Counters),
		PokeTTL: time.Hour, Badge: BadgeMessages, CatchUpLimit: 100, Log: log,
		Recent: 1 << 20, Owned: new(atomic.Int64),
	})
	stop := d.Start()
	f, err := partition.NewGroup(conn).Follow(t.Context(), partition.StageDeliver, 0, "test")
	if err == nil {
		err = d.Prepare(t.Context(), f, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	working.Go(func() {
		if err := d.Run(ctx, wait.Drain{Grace: time.Second}); err != nil {
			t.Error(err)
		}
	})
	working.Go(func() { gs.KeepTime(ctx, conn.TickInterval()) })
	t.Cleanup(func() {
		cancel()
		<-time.After(2 * time.Second)
		stop()
		d.Release()
		gs.Close()
		working.Wait()
	})
	return d
}

// A badge shows the number of notifications in the log, also when a lane that follows the log
// and one that catches up read the count at the same time.
func TestUnreadThatChangedWhileItWasLearntIsLearntAgain(t *testing.T) {
	eventstest.BubbleOf(t, 1, func(t *testing.T, _ *eventstest.Server, conn *stream.Conn) {
		const rounds = 120 // the moment is short: without care some 5 of 100 rounds are wrong
		gateway := eventstest.StartGateway(t)
		d := startAlone(t, conn, func(ctx context.Context, network, address string) (net.Conn, error) {
			return gateway.Dial(ctx, network, address)
		}, "@bob:x")
		for i := range 300 {
			store(t, conn, "@bob:x", events.RoomID(fmt.Sprintf("!many%d", i)), i+1)
		}
		<-time.After(time.Minute)
		wrong := 0
		for i := range rounds {
			before, _, _ := conn.Unread(t.Context(), "@bob:x")
			for k := range 4 {
				store(t, conn, "@bob:x", "!r", 1000+4*i+k)
			}
			<-time.After(time.Second)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() { // as one that catches up for a pusher of bob's
				defer close(done)
				for ctx.Err() == nil {
					_ = d.learnUnread(ctx, "@bob:x", 0)
					runtime.Gosched()
				}
			}()
			for k := range 4 {
				storeRead(t, conn, "@bob:x", "!r", 1000+4*i+k)
			}
			for { // until all four have left the log
				n, _, err := conn.Unread(t.Context(), "@bob:x")
				if err != nil || n.Messages <= before.Messages {
					break
				}
			}
			for range 2000 {
				runtime.Gosched()
			}
			cancel()
			<-done
			<-time.After(2 * time.Second)
			now, _, err := conn.Unread(t.Context(), "@bob:x")
			if err != nil {
				t.Fatal(err)
			}
			d.mu.Lock()
			believed := d.recipient("@bob:x").unread
			d.mu.Unlock()
			if !believed.stale && !believed.unsettled && believed.messages != now.Messages {
				wrong++
				t.Logf("round %d: believed %d, the log has %d", i, believed.messages, now.Messages)
			}
		}
		if wrong > 0 {
			t.Errorf("%d of %d rounds end with a count that is not the log's", wrong, rounds)
		}
	})
}

// store writes a user's notification of the event at a sequence of ROOMS.
func store(t *testing.T, conn *stream.Conn, user events.UserID, room events.RoomID, roomSeq int) {
	t.Helper()
	n := events.Notification{
		EventID: events.EventID(fmt.Sprintf("$%d", roomSeq)), RoomSeq: uint64(roomSeq), At: time.Now(),
		Tweaks: []byte("{}"), Body: fmt.Appendf(nil, `{"event_id":"$%d","prio":"low"}`, roomSeq),
	}
	write(t, conn, func(b *stream.Batch) { b.Notify(conn, user, room, "", n.AppendJSON(nil)) })
}

// storeRead writes that a user has read a room up to a sequence of ROOMS.
func storeRead(t *testing.T, conn *stream.Conn, user events.UserID, room events.RoomID, roomSeq int) {
	t.Helper()
	write(t, conn, func(b *stream.Batch) { b.Read(conn, user, room, events.Read{UpTo: uint64(roomSeq), Whole: true}) })
}

func write(t *testing.T, conn *stream.Conn, add func(*stream.Batch)) {
	t.Helper()
	stored := make(chan error, 1)
	batch := conn.NewBatch(func(_ uint64, err error) { stored <- err })
	add(batch)
	batch.Send()
	if err := <-stored; err != nil {
		t.Fatal(err)
	}
}
