package dispatcher

import (
	"testing"
	"testing/synctest"

	"poked/events"
	"poked/events/eventstest"
)

// A room's state from before is stored with m.room.create last. Whoever opens the
// room at that event, after a restart say, still knows who is in it.
func TestRoomIsReadBeforeItsCreate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := eventstest.StartServer(t).Connect(eventstest.Topology())
		seed, err := conn.SeedRoom(t.Context(), "!r:x")
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
		open, err := newRooms(conn, 1, 0)
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
