package stream

import (
	"context"
	"iter"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"poked/events"
)

// LoggedEvent is a room event as ROOMS stores it.
type LoggedEvent struct {
	Seq     uint64
	Subject string    // the subject on which it was published
	Time    time.Time // when it was stored
	Data    []byte    // for ParsePublished

	Historical bool // header Poked-Historical: true
	Superseded bool // header Poked-Superseded: true
}

// RoomLog yields the events of a room, state events included, that ROOMS has (72 h) from
// a sequence on, in order. It ends with the first error.
func (c *Conn) RoomLog(ctx context.Context, room events.RoomID, from uint64) iter.Seq2[LoggedEvent, error] {
	return loggedEvents(c.readStored(ctx, Rooms, c.roomEvents(room), from))
}

// RoomLogSince is [Conn.RoomLog] from a time on.
func (c *Conn) RoomLogSince(ctx context.Context, room events.RoomID, since time.Time) iter.Seq2[LoggedEvent, error] {
	return loggedEvents(c.readSince(ctx, Rooms, c.roomEvents(room), since))
}

func loggedEvents(log iter.Seq2[*jetstream.RawStreamMsg, error]) iter.Seq2[LoggedEvent, error] {
	return func(yield func(LoggedEvent, error) bool) {
		for msg, err := range log {
			if err != nil {
				yield(LoggedEvent{}, err)
				return
			}
			if strings.HasSuffix(msg.Subject, ".receipt") && strings.Count(msg.Subject, ".") == 3 {
				continue
			}
			if !yield(LoggedEvent{
				Seq: msg.Sequence, Subject: events.PublishedAs(msg.Subject), Time: msg.Time, Data: msg.Data, Historical: IsHistorical(msg.Header), Superseded: IsSuperseded(msg.Header),
			}, nil) {
				return
			}
		}
	}
}
