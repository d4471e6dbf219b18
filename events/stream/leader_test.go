package stream_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"poked/events"
	"poked/events/eventstest"
	"poked/events/stream"
)

// A replica that lacks what the leader acknowledged hides nothing.
func TestReplicaThatIsBehindHidesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := eventstest.StartServer(t)
		link := server.Link()
		conn := link.Connect(t, eventstest.Topology())
		before := time.Now()
		for seq := range uint64(3) {
			notify(t, conn, "@a:x", "!r", seq+1)
			notify(t, conn, "@b:x", "!r", seq+1)
		}
		markRead(t, conn, "@a:x", "!r", events.Read{UpTo: 1, Whole: true})
		markRead(t, conn, "@a:x", "!r", events.Read{UpTo: 2, Thread: "$t"})
		for _, stream := range []string{"NOTIFICATIONS", ""} {
			link.Behind(stream)
			all, _, err := conn.WithNotification(t.Context(), "!r", 2, before)
			if got := fmt.Sprint(all, err); got != "map[@a:x:[3] @b:x:[4]] <nil>" {
				t.Errorf("%q is behind: event 2 is in the logs of %s", stream, got)
			}
			reads, err := conn.ReadOf(t.Context(), "@a:x", "!r")
			if got := fmt.Sprint(reads, err); got != "[{1 true } {2 false $t}] <nil>" {
				t.Errorf("%q is behind: alice has read %s", stream, got)
			}
		}
	})
}

func markRead(t *testing.T, conn *stream.Conn, user events.UserID, room events.RoomID, read events.Read) {
	t.Helper()
	stored := make(chan error, 1)
	batch := conn.NewBatch(func(_ uint64, err error) { stored <- err })
	batch.Read(conn, user, room, read)
	batch.Send()
	if err := <-stored; err != nil {
		t.Fatal(err)
	}
}

// The state of a room is never incomplete: if it is unknown, that is an error.
func TestRoomStateAtAReplicaThatIsBehind(t *testing.T) {
	for _, later := range []time.Duration{0, 10 * time.Second} { // ROOM_STATE is still empty, or complete
		synctest.Test(t, func(t *testing.T) {
			server := eventstest.StartServer(t)
			link := server.Link()
			conn := link.Connect(t, eventstest.Topology())
			for i, key := range []string{"a", "b", "a", "c", "b", "a"} {
				setState(t, conn, "!r", key, i+1)
			}
			<-time.After(later)
			for _, stream := range []string{"ROOMS", "ROOM_STATE", ""} {
				link.Behind(stream)
				for before, want := range []string{1: "", "a:1", "a:1 b:2", "a:3 b:2", "a:3 b:2 c:4", "a:3 b:5 c:4", "a:6 b:5 c:4"} {
					got, err := stateBefore(t, conn, "!r", uint64(before))
					if err != nil && stream != "" {
						continue
					}
					if want = "map[" + want + "]"; err != nil || got != want {
						t.Errorf("%q is behind after %v: before %d the state is %s, %v, want %s", stream, later, before, got, err, want)
					}
				}
			}
		})
	}
}
