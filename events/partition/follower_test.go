package partition_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"poked/events"
	"poked/events/eventstest"
	"poked/events/natstest"
	"poked/events/partition"
	"poked/events/publish"
	"poked/events/stream"
)

const room = eventstest.Room

// worker follows the partition of room and records the messages that it handles.
type worker struct {
	follower *partition.Follower
	cancel   context.CancelFunc
	ended    chan struct{} // closed when the follower has returned
	err      error         // the result of Run

	mu   sync.Mutex
	seen []partition.Message
}

func follow(t *testing.T, conn *stream.Conn, owner string, handle func(w *worker, msg partition.Message)) *worker {
	t.Helper()
	part := events.PartitionOf(events.Token(room), conn.Topology().Partitions)
	f, err := partition.NewGroup(conn).Follow(t.Context(), partition.StageMatch, part, owner)
	if err != nil {
		t.Fatalf("follow: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	w := &worker{follower: f, cancel: cancel, ended: make(chan struct{})}
	handler := partition.Handler{
		Handle: func(_ context.Context, msg partition.Message) {
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

func done(w *worker, msg partition.Message) { w.follower.Done(msg.Seq) }

func TestFollowerResumesAfterWhatIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := natstest.StartServer(t).Connect(natstest.Topology())
		natstest.PublishAll(t, conn, 0, 5)
		first := follow(t, conn, "first", func(w *worker, msg partition.Message) {
			if msg.Seq != 2 && msg.Seq != 4 {
				w.follower.Done(msg.Seq)
			}
		})
		eventstest.WaitFor(t, "five messages", func() bool { return first.count() == 5 })
		first.stop(t)
		natstest.PublishAll(t, conn, 5, 6)

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

// A message that was stored after the follower began cannot have been handled by a
// predecessor.
func TestFollowerSuspectsOnlyWhatWasThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := natstest.StartServer(t).Connect(natstest.Topology())
		natstest.PublishAll(t, conn, 0, 1)
		w := follow(t, conn, "w", done)
		natstest.PublishAll(t, conn, 1, 2)
		eventstest.WaitFor(t, "both messages", func() bool { return w.count() == 2 })
		if !w.seen[0].Replayed || w.seen[1].Replayed {
			t.Errorf("replayed: %t, %t, want true, false", w.seen[0].Replayed, w.seen[1].Replayed)
		}
	})
}

func TestFollowerIsFencedByItsSuccessor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := natstest.StartServer(t).Connect(natstest.Topology())
		old := follow(t, conn, "old", done)
		natstest.PublishAll(t, conn, 0, 1)
		eventstest.WaitFor(t, "the first message", func() bool { return old.count() == 1 })
		young := follow(t, conn, "young", done)
		natstest.PublishAll(t, conn, 1, 2)
		eventstest.WaitFor(t, "the second message", func() bool { return young.count() > 0 })
		<-old.ended
		if !errors.Is(old.err, partition.ErrFenced) {
			t.Errorf("old worker ended with %v, want ErrFenced", old.err)
		}
	})
}

func TestFollowerOutlivesNATS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := natstest.StartServer(t)
		conn := server.Connect(natstest.Topology())
		w := follow(t, conn, "w", done)
		natstest.PublishAll(t, conn, 0, 10)
		eventstest.WaitFor(t, "ten messages", func() bool { return w.count() == 10 })
		for life := range 3 {
			server.Stop()
			<-time.After(time.Minute)
			server.Start()
			eventstest.WaitFor(t, "the connection", conn.Connected)
			natstest.PublishAll(t, conn, 10+life*10, 20+life*10)
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
		conn := natstest.StartServer(t).Connect(natstest.Topology())
		failed := false
		w := follow(t, conn, "w", func(w *worker, msg partition.Message) {
			if msg.Seq == 1 && !failed {
				failed = true
				w.follower.Redo(msg)
				return
			}
			w.follower.Done(msg.Seq)
		})
		natstest.PublishAll(t, conn, 0, 1)
		eventstest.WaitFor(t, "the second try", func() bool { return w.count() == 2 })
		if !w.seen[1].Replayed {
			t.Error("a message that is redone must count as replayed")
		}
	})
}

// A worker that crashes right after taking a partition over leaves open what its
// predecessor left open.
func TestFollowerKeepsWhatWasLeftOpenUntilItIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := natstest.StartServer(t)
		conn := server.Connect(natstest.Topology())
		natstest.PublishAll(t, conn, 0, 3)
		first := follow(t, conn, "first", func(w *worker, msg partition.Message) {
			if msg.Seq != 2 {
				w.follower.Done(msg.Seq)
			}
		})
		eventstest.WaitFor(t, "three messages", func() bool { return first.count() == 3 })
		first.stop(t)

		link := server.Link()
		dying := link.Connect(t, natstest.Topology())
		killed := link.Break("$KV.POSITIONS.match.", natstest.Kill)
		follow(t, dying, "dying", func(*worker, partition.Message) {})
		eventstest.WaitFor(t, "the death", killed)

		third := follow(t, conn, "third", done)
		eventstest.WaitFor(t, "what was left", func() bool { return third.count() == 1 })
		if third.seen[0].Seq != 2 || !third.seen[0].Replayed {
			t.Errorf("message %d arrived, replayed %t; want 2", third.seen[0].Seq, third.seen[0].Replayed)
		}
	})
}

// A message that was left open and has expired since is not waited for.
func TestFollowerGivesUpWhatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := natstest.StartServer(t)
		conn := server.Connect(natstest.Topology())
		natstest.PublishAll(t, conn, 0, 3)
		first := follow(t, conn, "first", func(w *worker, msg partition.Message) {
			if msg.Seq != 2 {
				w.follower.Done(msg.Seq)
			}
		})
		eventstest.WaitFor(t, "three messages", func() bool { return first.count() == 3 })
		first.stop(t)
		server.DeleteMessage("ROOMS", 2)
		second := follow(t, conn, "second", done)
		natstest.PublishAll(t, conn, 3, 4)
		eventstest.WaitFor(t, "the new message", func() bool { return second.count() == 1 })
		second.stop(t)
		for _, msg := range server.Stored("KV_POSITIONS", "") {
			if strings.Contains(string(msg.Data), `"open"`) {
				t.Errorf("the position still has it open: %s", msg.Data)
			}
		}
	})
}

// A restart of the server does not change the meaning of positions.
func TestFollowerGoesOnAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := natstest.StartServer(t)
		conn := server.Connect(natstest.Topology())
		natstest.PublishAll(t, conn, 0, 5)
		first := follow(t, conn, "first", done)
		eventstest.WaitFor(t, "five messages", func() bool { return first.count() == 5 })
		first.stop(t)
		server.Stop()
		server.Start()
		eventstest.WaitFor(t, "a publisher who repeats", func() bool {
			return publish.NewPublisher(conn).Event(t.Context(), eventstest.Message(5)) == nil
		})
		second := follow(t, conn, "second", done)
		eventstest.WaitFor(t, "the new message", func() bool { return second.count() > 0 })
		<-time.After(time.Second)
		if second.count() != 1 || second.seen[0].Seq != 6 {
			t.Errorf("%d messages, the first is %d; want 6 alone", second.count(), second.seen[0].Seq)
		}
	})
}

// In a stream that was made anew the old position means nothing, even if the new stream
// is longer.
func TestFollowerStartsOverInANewStream(t *testing.T) {
	for _, grown := range []int{2, 9} {
		synctest.Test(t, func(t *testing.T) {
			server := natstest.StartServer(t)
			conn := server.Connect(natstest.Topology())
			natstest.PublishAll(t, conn, 0, 5)
			first := follow(t, conn, "first", done)
			eventstest.WaitFor(t, "five messages", func() bool { return first.count() == 5 })
			first.stop(t)
			<-time.After(time.Second)
			server.DeleteStream("ROOMS")
			if err := conn.Setup(t.Context(), natstest.Topology()); err != nil {
				t.Fatal(err)
			}
			natstest.PublishAll(t, conn, 10, 10+grown)
			second := follow(t, conn, "second", done)
			eventstest.WaitFor(t, "all of the new stream", func() bool { return second.count() == grown })
		})
	}
}

// After a power cut a stream may end before the position. Messages stored after that
// are new; those before the end were done.
func TestFollowerGoesOnInAStreamThatLostItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := natstest.StartServer(t)
		conn := server.Connect(natstest.Topology())
		natstest.PublishAll(t, conn, 0, 5)
		first := follow(t, conn, "first", done)
		eventstest.WaitFor(t, "five messages", func() bool { return first.count() == 5 })
		first.stop(t)
		stored := server.Stored("KV_POSITIONS", "")
		ahead := strings.Replace(string(stored[len(stored)-1].Data), `"next":5`, `"next":8,"open":[4,7]`, 1)
		server.Publish(stored[len(stored)-1].Subject, ahead)
		second := follow(t, conn, "second", done)
		natstest.PublishAll(t, conn, 5, 8)
		eventstest.WaitFor(t, "what was open and what is new", func() bool { return second.count() == 4 })
		for i, want := range []uint64{4, 6, 7, 8} {
			if second.seen[i].Seq != want {
				t.Errorf("message %d is %d, want %d", i, second.seen[i].Seq, want)
			}
		}
	})
}

// A message that is lost on the way is noticed even if no other message follows.
func TestFollowerMissesALostMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := natstest.StartServer(t)
		homeserver := server.Connect(natstest.Topology())
		link := server.Link()
		w := follow(t, link.Connect(t, natstest.Topology()), "w", done)
		natstest.PublishAll(t, homeserver, 0, 1)
		eventstest.WaitFor(t, "the first message", func() bool { return w.count() == 1 })
		link.Drop("rooms.")
		natstest.PublishAll(t, homeserver, 1, 2)
		lost := time.Now()
		eventstest.WaitFor(t, "the lost message", func() bool { return w.count() == 2 })
		if took := time.Since(lost); took > 3*time.Second {
			t.Errorf("it arrived after %v", took)
		}
	})
}
