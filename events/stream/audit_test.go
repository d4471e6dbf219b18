package stream_test

import (
	"testing"
	"testing/synctest"

	"poked/events"
	"poked/events/eventstest"
	"poked/events/stream"
)

// Messages that are stored or removed count, whichever process does it; reads do not.
func TestCountLogWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := eventstest.StartServer(t)
		conn, other := server.Connect(eventstest.Topology()), server.Connect(eventstest.Topology())
		notify(t, conn, "@a:x", "!r", 1)
		writes, err := conn.CountLogWrites(t.Context(), 4, func() error {
			for seq := range uint64(3) {
				notify(t, other, "@a:x", "!r", seq+2)
			}
			if _, _, err := other.Unread(t.Context(), "@a:x"); err != nil {
				return err
			}
			if err := other.RemoveNotification(t.Context(), 1); err != nil {
				return err
			}
			_, err := other.MarkRead(t.Context(), "@a:x", "!r", events.Read{UpTo: 4, Whole: true}, 5)
			return err
		})
		if want := (stream.LogWrites{Stored: 3, Removed: 2}); err != nil || writes != want {
			t.Errorf("%+v, %v; want %+v", writes, err, want)
		}
	})
}
