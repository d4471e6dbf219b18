package events_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"poked/events"
	"poked/events/eventstest"
)

const room = events.RoomID("!room:example.org")

func message(n int) []byte {
	return fmt.Appendf(nil, `{"event_id":"$e%d","room_id":%q,"type":"m.room.message","sender":"@a:example.org","content":{"n":%d}}`, n, room, n)
}

func publish(t *testing.T, conn *events.Conn, from, to int) {
	t.Helper()
	for n := from; n < to; n++ {
		if err := events.NewPublisher(conn).Event(t.Context(), message(n)); err != nil {
			t.Fatalf("publish %d: %v", n, err)
		}
	}
}

// worker follows the partition of room and notes what it is handed.
type worker struct {
	follower *events.Follower
	cancel   context.CancelFunc
	ended    chan struct{} // closed when the follower has returned
	err      error         // what it returned

	mu   sync.Mutex
	seen []events.Message
}

func follow(t *testing.T, conn *events.Conn, owner string, handle func(w *worker, msg events.Message)) *worker {
	t.Helper()
	part := events.PartitionOf(events.Token(room), conn.Partitions())
	f, err := conn.Follow(t.Context(), events.StageMatch, part, owner)
	if err != nil {
		t.Fatalf("follow: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	w := &worker{follower: f, cancel: cancel, ended: make(chan struct{})}
	handler := events.Handler{
		Handle: func(_ context.Context, msg events.Message) {
			w.mu.Lock()
			w.seen = append(w.seen, msg)
			w.mu.Unlock()
			handle(w, msg)
		},
		Tick: func(context.Context, time.Time) {},
	}
	go func() {
		defer close(w.ended)
		w.err = f.Run(ctx, handler, func() {})
	}()
	t.Cleanup(func() {
		cancel()
		<-w.ended
	})
	return w
}

func (w *worker) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.seen)
}

func (w *worker) stop(t *testing.T) {
	t.Helper()
	w.cancel()
	<-w.ended
	if w.err != nil {
		t.Fatalf("stop: %v", w.err)
	}
}

func done(w *worker, msg events.Message) { w.follower.Done(msg.Seq) }

func TestFollowerResumesAfterWhatIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := eventstest.StartServer(t).Connect(eventstest.Topology())
		publish(t, conn, 0, 5)
		first := follow(t, conn, "first", func(w *worker, msg events.Message) {
			if msg.Seq != 2 && msg.Seq != 4 {
				w.follower.Done(msg.Seq)
			}
		})
		eventstest.WaitFor(t, "five messages", func() bool { return first.count() == 5 })
		first.stop(t)
		publish(t, conn, 5, 6)

		second := follow(t, conn, "second", done)
		eventstest.WaitFor(t, "what was left", func() bool { return second.count() == 3 })
		second.stop(t)
		for i, want := range []struct {
			seq      uint64
			replayed bool
		}{{2, true}, {4, true}, {6, true}} {
			if got := second.seen[i]; got.Seq != want.seq || got.Replayed != want.replayed {
				t.Errorf("message %d: seq %d replayed %t, want %+v", i, got.Seq, got.Replayed, want)
			}
		}
	})
}

// A message that came after the follower began cannot have been handled by a
// predecessor.
func TestFollowerSuspectsOnlyWhatWasThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := eventstest.StartServer(t).Connect(eventstest.Topology())
		publish(t, conn, 0, 1)
		w := follow(t, conn, "w", done)
		publish(t, conn, 1, 2)
		eventstest.WaitFor(t, "both messages", func() bool { return w.count() == 2 })
		if !w.seen[0].Replayed || w.seen[1].Replayed {
			t.Errorf("replayed: %t, %t, want true, false", w.seen[0].Replayed, w.seen[1].Replayed)
		}
	})
}

func TestFollowerIsFencedByItsSuccessor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := eventstest.StartServer(t).Connect(eventstest.Topology())
		old := follow(t, conn, "old", done)
		publish(t, conn, 0, 1)
		eventstest.WaitFor(t, "the first message", func() bool { return old.count() == 1 })
		young := follow(t, conn, "young", done)
		publish(t, conn, 1, 2)
		eventstest.WaitFor(t, "the second message", func() bool { return young.count() > 0 })
		<-old.ended
		if !errors.Is(old.err, events.ErrFenced) {
			t.Errorf("old worker ended with %v, want ErrFenced", old.err)
		}
	})
}

func TestFollowerOutlivesNATS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := eventstest.StartServer(t)
		conn := server.Connect(eventstest.Topology())
		w := follow(t, conn, "w", done)
		publish(t, conn, 0, 10)
		eventstest.WaitFor(t, "ten messages", func() bool { return w.count() == 10 })
		for life := range 3 {
			server.Stop()
			<-time.After(time.Minute)
			server.Start()
			eventstest.WaitFor(t, "the connection", conn.Connected)
			publish(t, conn, 10+life*10, 20+life*10)
		}
		eventstest.WaitFor(t, "forty messages", func() bool { return w.count() == 40 })
		w.stop(t)
		for i, msg := range w.seen {
			if msg.Seq != uint64(i+1) {
				t.Fatalf("message %d has sequence %d: lost, repeated or out of order", i, msg.Seq)
			}
		}
	})
}

func TestFollowerRedoesInOrderWithinTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := eventstest.StartServer(t).Connect(eventstest.Topology())
		failed := false
		w := follow(t, conn, "w", func(w *worker, msg events.Message) {
			if msg.Seq == 1 && !failed {
				failed = true
				w.follower.Redo(msg)
				return
			}
			w.follower.Done(msg.Seq)
		})
		publish(t, conn, 0, 1)
		eventstest.WaitFor(t, "the second try", func() bool { return w.count() == 2 })
		if !w.seen[1].Replayed {
			t.Error("a message that is redone must count as replayed")
		}
	})
}
