package events

import (
	"context"
	"iter"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// LoggedEvent is a room event as it stands in ROOMS.
type LoggedEvent struct {
	Seq  uint64
	Time time.Time // when it was stored
	Data []byte    // for ParseRoomEvent

	Historical bool // header Poked-Historical: true
}

// RoomLog yields the events of a room that ROOMS holds (72 h) and that were stored
// since a time, or all if that is zero, state events among them, in order. It ends
// with the first error.
func (c *Conn) RoomLog(ctx context.Context, room RoomID, since time.Time) iter.Seq2[LoggedEvent, error] {
	return func(yield func(LoggedEvent, error) bool) {
		log := c.readStored(ctx, streamRooms, c.roomEvents(room), 1)
		if !since.IsZero() {
			log = c.readSince(ctx, streamRooms, c.roomEvents(room), since)
		}
		for msg, err := range log {
			if err != nil {
				yield(LoggedEvent{}, err)
				return
			}
			if strings.HasSuffix(msg.Subject, ".receipt") {
				continue
			}
			if !yield(LoggedEvent{
				Seq: msg.Sequence, Time: msg.Time, Data: msg.Data, Historical: isHistorical(msg.Header),
			}, nil) {
				return
			}
		}
	}
}

// roomEvents is where what is published of a room stands, its receipts too.
func (c *Conn) roomEvents(room RoomID) string {
	token := Token(room)
	return "rooms." + c.partOf(token) + "." + token + ".>"
}

func isHistorical(header nats.Header) bool {
	return strings.EqualFold(header.Get(HeaderHistorical), "true")
}
