package stream_test

import (
	"fmt"
	"testing"

	"poked/events"
	"poked/events/publish"
	"poked/events/stream"
)

const room = events.RoomID("!room:example.org")

func message(n int) []byte {
	return fmt.Appendf(nil, `{"event_id":"$e%d","room_id":%q,"type":"m.room.message","sender":"@a:example.org","content":{"n":%d}}`, n, room, n)
}

// publishAll publishes messages from one number to another.
func publishAll(t *testing.T, conn *stream.Conn, from, to int) {
	t.Helper()
	for n := from; n < to; n++ {
		if err := publish.NewPublisher(conn).Event(t.Context(), message(n)); err != nil {
			t.Fatalf("publish %d: %v", n, err)
		}
	}
}
