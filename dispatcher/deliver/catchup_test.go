package deliver

import (
	"fmt"
	"testing"
	"time"

	"poked/events"
	"poked/events/eventstest"
	"poked/events/stream"
)

// Two pushers of one user that stand at different places catch up in one request:
// what one of them has been told already, the other is told all the same.
func TestCatchUpOfTwoPushersOfOneUser(t *testing.T) {
	eventstest.Bubble(t, func(t *testing.T, _ *eventstest.Server, conn *stream.Conn) {
		for i := range 6 {
			stored := make(chan error, 1)
			batch := conn.NewBatch(func(_ uint64, err error) { stored <- err })
			n := events.Notification{
				EventID: events.EventID(fmt.Sprintf("$%d", i+1)), RoomSeq: uint64(i) + 1, At: time.Now(),
				Tweaks: []byte("{}"), Body: []byte(`{"prio":"low"}`),
			}
			batch.Notify(conn, "@bob:x", events.RoomID(fmt.Sprintf("!r%d", i/3)), "", n.AppendJSON(nil))
			batch.Send()
			if err := <-stored; err != nil {
				t.Fatal(err)
			}
		}
		newest, err := conn.NewestInRooms(t.Context(), []events.UserID{"@bob:x"}, 6)
		if err != nil {
			t.Fatal(err)
		}
		c := newCatchUpReader(New(Config{Conn: conn, Counts: &Counters{}}), 100)
		for _, after := range []uint64{4, 0} {
			read, err := c.readOn(t.Context(), ask{user: "@bob:x", after: after, target: 6, waiting: notCounted}, newest["@bob:x"])
			if err != nil || len(read.items) != 6-int(after) || read.end != 6 {
				t.Errorf("after %d: %d notifications up to %d, %v", after, len(read.items), read.end, err)
			}
		}
	})
}
