package events_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"poked/events"
	"poked/events/eventstest"
)

// logBuffer keeps a log for a look at it.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// keep has a connection look after the streams until the end of the test, and
// returns when it has looked once.
func keep(t *testing.T, conn *events.Conn) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- conn.Keep(ctx, eventstest.Topology()) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("keep: %v", err)
		}
	})
	eventstest.WaitFor(t, "the first look", func() bool { return len(conn.Streams()) == 12 })
}

func lastSeq(conn *events.Conn, name string) uint64 {
	for _, s := range conn.Streams() {
		if s.Name == name {
			return s.LastSeq
		}
	}
	return 0
}

// TestKeepMakesStreamsAnew deletes every stream once, with something in it.
func TestKeepMakesStreamsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, log := eventstest.StartServer(t), &logBuffer{}
		link := server.Link()
		link.Log = slog.New(slog.NewTextHandler(log, nil))
		conn := link.Connect(t, eventstest.Topology())
		publish(t, conn, 0, 3)
		keep(t, conn)
		var again sync.WaitGroup
		conn.OnReconnect(func() { again.Done() })
		for _, stream := range conn.Streams() {
			again.Add(1)
			server.DeleteStream(stream.Name)
			again.Wait()
			if got := lastSeq(conn, stream.Name); got <= stream.LastSeq {
				t.Errorf("%s: it ended at %d and begins anew after %d", stream.Name, stream.LastSeq, got)
			}
			if !strings.Contains(log.String(), "made anew, what it held is lost\" stream="+stream.Name) {
				t.Errorf("%s: nobody said so: %s", stream.Name, log)
			}
		}
		// It is as it was, so that setting it up changes nothing.
		if err := server.Dial().Setup(t.Context(), eventstest.Topology()); err != nil {
			t.Errorf("set up: %v", err)
		}
		publish(t, conn, 3, 5)
		if n := len(server.Stored("ROOMS", "")); n != 2 {
			t.Errorf("ROOMS has %d events, want 2", n)
		}
	})
}

// TestFollowerOfDeletedStream has the stream deleted under a follower, which must
// not go on as if it were the same, and its successor read what comes.
func TestFollowerOfDeletedStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := eventstest.StartServer(t)
		conn := server.Connect(eventstest.Topology())
		keep(t, conn)
		before := follow(t, conn, "a", done)
		publish(t, conn, 0, 3)
		eventstest.WaitFor(t, "three events", func() bool { return before.count() == 3 })
		server.DeleteStream("ROOMS")
		<-before.ended
		if !errors.Is(before.err, events.ErrRemade) {
			t.Fatalf("it ended with %v", before.err)
		}
		after := follow(t, conn, "b", done)
		publish(t, conn, 3, 5)
		eventstest.WaitFor(t, "two more", func() bool { return after.count() == 2 })
	})
}

// TestRoomStateOfDeletedRooms wants the server to go on filling ROOM_STATE, and
// what it held before to be known still.
func TestRoomStateOfDeletedRooms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := eventstest.StartServer(t)
		conn := server.Connect(eventstest.Topology())
		keep(t, conn)
		setState(t, conn, room, "a", 1)
		setState(t, conn, room, "b", 2)
		eventstest.WaitFor(t, "the state", func() bool { return len(server.Stored("ROOM_STATE", "")) == 2 })
		ended := lastSeq(conn, "ROOMS")
		server.DeleteStream("ROOMS")
		eventstest.WaitFor(t, "the new stream", func() bool { return lastSeq(conn, "ROOMS") > ended+1000 })
		setState(t, conn, room, "b", 3)
		setState(t, conn, room, "c", 4)
		eventstest.WaitFor(t, "the state", func() bool { return len(server.Stored("ROOM_STATE", "")) == 3 })
		if got := stateOf(t, conn, room, 1<<60); got != "map[a:1 b:3 c:4]" {
			t.Errorf("the state is %s", got)
		}
	})
}
