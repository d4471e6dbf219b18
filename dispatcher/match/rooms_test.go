package match

import (
	"fmt"
	"testing"
	"testing/synctest"

	"poked/events"
	"poked/events/natstest"
	"poked/events/roomstore"
)

// A dispatcher keeps as many rooms as its limit, however many partitions it owns.
func TestRoomsAreDividedAmongPartitionsThatAreOwned(t *testing.T) {
	rs, err := newRooms(nil, 100, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		rs.keep(newRoom(events.RoomID(fmt.Sprintf("!r%d", i))), 1)
	}
	for _, tc := range []struct{ owned, want int }{{1, 100}, {4, 25}, {200, 1}, {2, 1}} {
		if rs.divide(tc.owned); rs.open.Len() != tc.want {
			t.Errorf("one of %d partitions keeps %d rooms, want %d", tc.owned, rs.open.Len(), tc.want)
		}
	}
	for i := range 100 {
		rs.keep(newRoom(events.RoomID(fmt.Sprintf("!s%d", i))), 1)
	}
	if rs.open.Len() != 50 {
		t.Errorf("one of 2 partitions keeps %d rooms, want 50", rs.open.Len())
	}
}

// When an existing room is published, m.room.create is stored last. A process that loads
// the room at that event, for example after a restart, still knows the members.
func TestRoomIsReadBeforeItsCreate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := natstest.StartServer(t).Connect(natstest.Topology())
		store := roomstore.New(conn)
		seed, err := store.Seed(t.Context(), "!r:x")
		if err != nil {
			t.Fatal(err)
		}
		create := `{"event_id":"$create","room_id":"!r:x","type":"m.room.create","state_key":"","sender":"@a:x","content":{}}`
		member := `{"event_id":"$a","room_id":"!r:x","type":"m.room.member","state_key":"@a:x","sender":"@a:x","content":{"membership":"join"}}`
		for _, raw := range []string{create, member} {
			if err := seed.Add(t.Context(), []byte(raw)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := seed.Finish(t.Context()); err != nil {
			t.Fatal(err)
		}
		open, err := newRooms(store, 1, 0)
		if err != nil {
			t.Fatal(err)
		}
		ev, err := events.ParseRoomEvent([]byte(create))
		if err != nil {
			t.Fatal(err)
		}
		r, err := open.before(t.Context(), &ev, 2)
		if err != nil || r.joined != 1 {
			t.Errorf("%d are joined, %v", r.joined, err)
		}
	})
}
