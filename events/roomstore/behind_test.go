package roomstore_test

import (
	"testing"
	"testing/synctest"
	"time"

	"poked/events/eventstest"
	"poked/events/natstest"
	"poked/events/roomstore"
)

// The state of a room is never incomplete: if it is unknown, that is an error.
func TestRoomStateAtAReplicaThatIsBehind(t *testing.T) {
	for _, later := range []time.Duration{0, 10 * time.Second} { // ROOM_STATE is still empty, or complete
		synctest.Test(t, func(t *testing.T) {
			server := natstest.StartServer(t)
			link := server.Link()
			conn := link.Connect(t, natstest.Topology())
			store := roomstore.New(conn)
			for i, key := range []string{"a", "b", "a", "c", "b", "a"} {
				setState(t, conn, "!r", key, i+1)
			}
			<-time.After(later)
			for _, stream := range []string{"ROOMS", "ROOM_STATE", ""} {
				link.Behind(stream)
				for before, want := range []string{1: "", "a:1", "a:1 b:2", "a:3 b:2", "a:3 b:2 c:4", "a:3 b:5 c:4", "a:6 b:5 c:4"} {
					got, err := stateBefore(t, store, "!r", uint64(before))
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

// After a power cut what a store has learned of ROOM_STATE counts no more: it may hold less than
// that. Two sequences are lost, and given out again.
func TestRoomStateThatLostItsEnd(t *testing.T) {
	eventstest.Long(t)
	synctest.Test(t, func(t *testing.T) {
		server := natstest.StartServer(t)
		conn := server.Connect(natstest.Topology())
		store := roomstore.New(conn)
		state := func(before uint64, want string) {
			t.Helper()
			eventstest.WaitFor(t, want, func() bool {
				got, err := stateBefore(t, store, "!r", before)
				return err == nil && got == want
			})
		}
		filled := func(n int) {
			t.Helper()
			eventstest.WaitFor(t, "ROOM_STATE", func() bool { return len(server.Stored("ROOM_STATE", "")) == n })
		}
		for i, key := range []string{"a", "b", "c", "d"} {
			setState(t, conn, "!r", key, i+1)
		}
		filled(4)
		state(5, "map[a:1 b:2 c:3 d:4]")
		for left := 3; left >= 2; left-- { // one by one, since they differ in size
			server.LoseEnd(1, "ROOMS", "ROOM_STATE")
			filled(left)
		}
		state(3, "map[a:1 b:2]")
		setState(t, conn, "!r", "e", 5)
		filled(3)
		state(4, "map[a:1 b:2 e:5]")
	})
}
