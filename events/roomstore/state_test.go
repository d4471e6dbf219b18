package roomstore_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"poked/events"
	"poked/events/eventstest"
	"poked/events/natstest"
	"poked/events/publish"
	"poked/events/roomstore"
	"poked/events/stream"
)

// stateBefore collects the events of State: state key → event.
func stateBefore(t *testing.T, store *roomstore.Store, room events.RoomID, before uint64) (string, error) {
	t.Helper()
	state, err := natstest.RoomState(t, store, room, before)
	if err != nil {
		return "", err
	}
	return fmt.Sprint(state), nil
}

func stateOf(t *testing.T, store *roomstore.Store, room events.RoomID, before uint64) string {
	t.Helper()
	state, err := stateBefore(t, store, room, before)
	if err != nil {
		t.Fatal(err)
	}
	return state
}

func setState(t *testing.T, conn *stream.Conn, room events.RoomID, key string, n int) {
	t.Helper()
	raw := fmt.Appendf(nil, `{"event_id":"%d","room_id":%q,"type":"m.x","sender":"@a:x","state_key":%q,"content":{}}`, n, room, key)
	if err := publish.NewPublisher(conn).Event(t.Context(), raw); err != nil {
		t.Fatal(err)
	}
}

// The state before a sequence contains what had been set by then, without later state,
// however far ROOM_STATE is filled.
func TestRoomStateIsThatOfItsTime(t *testing.T) {
	for _, lag := range []string{"ROOM_STATE knows nothing yet", "ROOM_STATE knows all"} {
		t.Run(lag, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn := natstest.StartServer(t).Connect(natstest.Topology())
				store := roomstore.New(conn)
				keys := []string{"a", "b", "a", "", "c", "a", "b", "", "a"}
				for i, key := range keys {
					setState(t, conn, "!r", key, 2*i+1)
					setState(t, conn, "!other", key, 2*i+2) // of another room
				}
				if lag == "ROOM_STATE knows all" {
					<-time.After(10 * time.Second)
				}
				want := map[string]string{}
				for i, key := range keys {
					before := uint64(2*i + 1)
					if got := stateOf(t, store, "!r", before); got != fmt.Sprint(want) {
						t.Errorf("before %d: %s, want %v", before, got, want)
					}
					want[key] = fmt.Sprint(before)
				}
				if got := stateOf(t, store, "!r", 1000); got != fmt.Sprint(want) {
					t.Errorf("at the end: %s, want %v", got, want)
				}
				if got := stateOf(t, store, "!unknown", 1000); got != "map[]" {
					t.Errorf("an unknown room has %s", got)
				}
			})
		})
	}
}

// State outlives the events: ROOMS keeps them for 72 h, ROOM_STATE for ever.
func TestRoomStateOutlivesRooms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := natstest.StartServer(t)
		conn := server.Connect(natstest.Topology())
		store := roomstore.New(conn)
		setState(t, conn, "!r", "a", 1)
		setState(t, conn, "!r", "b", 2)
		<-time.After(10 * time.Second)
		server.DeleteMessage("ROOMS", 1) // as if it had expired
		server.DeleteMessage("ROOMS", 2)
		setState(t, conn, "!r", "b", 3)
		if got := stateOf(t, store, "!r", 4); got != "map[a:1 b:3]" {
			t.Errorf("state is %s", got)
		}
	})
}

// Thread subscriptions are state, too: none but the newest before a sequence.
func TestRoomStateHasThreadSubscriptions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := natstest.StartServer(t).Connect(natstest.Topology())
		store := roomstore.New(conn)
		for i := range 4 {
			sub := events.ThreadSubscription{RoomID: "!r", Thread: "$t", UserID: "@a:x", Subscribed: i%2 == 0}
			if err := publish.NewPublisher(conn).ThreadSubscription(t.Context(), sub); err != nil {
				t.Fatal(err)
			}
		}
		<-time.After(10 * time.Second)
		for before := uint64(2); before < 6; before++ {
			for state, err := range store.State(t.Context(), "!r", before) {
				if err != nil {
					t.Fatal(err)
				}
				got, err := events.ParsePublishedThreadSubscription(state.Subject, state.Data)
				if err != nil || got.Subscribed != (before%2 == 0) || state.Seq != before-1 {
					t.Errorf("before %d: %+v of %d, %v", before, got, state.Seq, err)
				}
			}
		}
	})
}

// Nor are they the newest event of a room, by which a bridge knows where the homeserver's order went on.
func TestNewestOfARoomIsNoThreadSubscription(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := natstest.StartServer(t).Connect(natstest.Topology())
		store := roomstore.New(conn)
		setState(t, conn, "!r", "a", 1)
		if err := publish.NewPublisher(conn).ThreadSubscription(t.Context(), events.ThreadSubscription{RoomID: "!r", Thread: "$t", UserID: "@a:x", Subscribed: true}); err != nil {
			t.Fatal(err)
		}
		if raw, err := store.NewestOf(t.Context(), "!r"); err != nil || raw == nil {
			t.Errorf("the newest is %s, %v", raw, err)
		}
	})
}

// A room may have more members than the server returns in one answer.
func TestRoomStateOfABigRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := natstest.StartServer(t).Connect(natstest.Topology())
		store := roomstore.New(conn)
		const members = 2500
		for i := range members {
			setState(t, conn, "!r", fmt.Sprintf("@u%d:x", i), i+1)
		}
		<-time.After(10 * time.Second)
		setState(t, conn, "!r", "@u7:x", members+1)
		for before, want := range map[uint64]string{members + 1: "8", members + 2: fmt.Sprint(members + 1)} {
			newest, err := natstest.RoomState(t, store, "!r", before)
			if err != nil {
				t.Fatal(err)
			}
			if len(newest) != members || newest["@u7:x"] != want {
				t.Errorf("before %d: %d members, @u7:x by event %s, want %d and %s", before, len(newest), newest["@u7:x"], members, want)
			}
		}
	})
}

// TestRoomStateOfDeletedRooms checks that the server continues to fill ROOM_STATE, and
// that older state is still there.
func TestRoomStateOfDeletedRooms(t *testing.T) {
	eventstest.Long(t)
	synctest.Test(t, func(t *testing.T) {
		server := natstest.StartServer(t)
		conn := server.Connect(natstest.Topology())
		store := roomstore.New(conn)
		natstest.Keep(t, conn)
		setState(t, conn, eventstest.Room, "a", 1)
		setState(t, conn, eventstest.Room, "b", 2)
		eventstest.WaitFor(t, "the state", func() bool { return len(server.Stored("ROOM_STATE", "")) == 2 })
		ended := lastSeq(conn)
		server.DeleteStream("ROOMS")
		eventstest.WaitFor(t, "the new stream", func() bool { return lastSeq(conn) > ended+1000 })
		setState(t, conn, eventstest.Room, "b", 3)
		setState(t, conn, eventstest.Room, "c", 4)
		eventstest.WaitFor(t, "the state", func() bool { return len(server.Stored("ROOM_STATE", "")) == 3 })
		if got := stateOf(t, store, eventstest.Room, 1<<60); got != "map[a:1 b:3 c:4]" {
			t.Errorf("the state is %s", got)
		}
	})
}

func lastSeq(conn *stream.Conn) uint64 {
	for _, s := range conn.Streams() {
		if s.Name == stream.Rooms {
			return s.LastSeq
		}
	}
	return 0
}
