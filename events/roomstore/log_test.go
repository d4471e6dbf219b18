package roomstore_test

import (
	"testing"
	"testing/synctest"

	"poked/events"
	"poked/events/eventstest"
	"poked/events/natstest"
	"poked/events/roomstore"
)

// The event at a sequence is what the homeserver published, and no other.
func TestEventAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := natstest.StartServer(t).Connect(natstest.Topology())
		store := roomstore.New(conn)
		natstest.PublishAll(t, conn, 0, 2)
		for _, c := range []struct {
			seq  uint64
			id   events.EventID
			room events.RoomID
			want string
		}{
			{1, "$e0", eventstest.Room, string(eventstest.Message(0))},
			{2, "$e1", eventstest.Room, string(eventstest.Message(1))},
			{2, "$e0", eventstest.Room, ""},
			{1, "$e0", "!other", ""},
			{3, "$e2", eventstest.Room, ""},
		} {
			if got, err := store.EventAt(t.Context(), c.room, c.seq, c.id); err != nil || string(got) != c.want {
				t.Errorf("%d, %s of %s: %s, %v", c.seq, c.id, c.room, got, err)
			}
		}
	})
}
