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

	Receipts   bool // receipts, and no event: only [Conn.RoomTraffic] yields these
	Historical bool // header Poked-Historical: true
	Superseded bool // header Poked-Superseded: true
}

// RoomLog yields the events of a room, state events included, that ROOMS has from
// a sequence on, in order. It ends with the first error.
func (c *Conn) RoomLog(ctx context.Context, room events.RoomID, from uint64) iter.Seq2[LoggedEvent, error] {
	return withoutReceipts(loggedEvents(c.readStored(ctx, c.topology.RoomsOf(room), c.topology.RoomEvents(room), from)))
}

// RoomTraffic is [Conn.RoomLog] with the receipts that were published meanwhile.
func (c *Conn) RoomTraffic(ctx context.Context, room events.RoomID, from uint64) iter.Seq2[LoggedEvent, error] {
	return loggedEvents(c.readStored(ctx, c.topology.RoomsOf(room), c.topology.RoomEvents(room), from))
}

// RoomLogSince is [Conn.RoomLog] from a time on.
func (c *Conn) RoomLogSince(ctx context.Context, room events.RoomID, since time.Time) iter.Seq2[LoggedEvent, error] {
	return withoutReceipts(loggedEvents(c.readSince(ctx, c.topology.RoomsOf(room), c.topology.RoomEvents(room), since)))
}

func withoutReceipts(log iter.Seq2[LoggedEvent, error]) iter.Seq2[LoggedEvent, error] {
	return func(yield func(LoggedEvent, error) bool) {
		for logged, err := range log {
			if !logged.Receipts && !yield(logged, err) {
				return
			}
		}
	}
}

func loggedEvents(log iter.Seq2[*jetstream.RawStreamMsg, error]) iter.Seq2[LoggedEvent, error] {
	return func(yield func(LoggedEvent, error) bool) {
		for msg, err := range log {
			if err != nil {
				yield(LoggedEvent{}, err)
				return
			}
			if !yield(LoggedEvent{
				Seq: msg.Sequence, Subject: events.PublishedAs(msg.Subject), Time: msg.Time, Data: msg.Data,
				Receipts:   strings.HasSuffix(msg.Subject, ".receipt") && strings.Count(msg.Subject, ".") == 3,
				Historical: IsHistorical(msg.Header), Superseded: IsSuperseded(msg.Header),
			}, nil) {
				return
			}
		}
	}
}
