package roomstore

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"poked/events"
	"poked/events/stream"
)

// LoggedEvent is a room event as ROOMS stores it.
type LoggedEvent struct {
	Seq     uint64
	Subject string    // the subject on which it was published
	Time    time.Time // when it was stored
	Data    []byte    // for ParsePublished

	Receipts   bool // receipts, and no event: only [Store.Traffic] yields these
	Historical bool // header Poked-Historical: true
	Superseded bool // header Poked-Superseded: true
}

// Log yields the events of a room, state events included, that ROOMS has from
// a sequence on, in order. It ends with the first error.
func (s *Store) Log(ctx context.Context, room events.RoomID, from uint64) iter.Seq2[LoggedEvent, error] {
	return withoutReceipts(loggedEvents(s.conn.ReadStored(ctx, s.conn.Topology().RoomsOf(room), s.conn.Topology().RoomEvents(room), from)))
}

// Traffic is [Store.Log] with the receipts that were published meanwhile.
func (s *Store) Traffic(ctx context.Context, room events.RoomID, from uint64) iter.Seq2[LoggedEvent, error] {
	return loggedEvents(s.conn.ReadStored(ctx, s.conn.Topology().RoomsOf(room), s.conn.Topology().RoomEvents(room), from))
}

// LogSince is [Store.Log] from a time on.
func (s *Store) LogSince(ctx context.Context, room events.RoomID, since time.Time) iter.Seq2[LoggedEvent, error] {
	return withoutReceipts(loggedEvents(s.conn.ReadSince(ctx, s.conn.Topology().RoomsOf(room), s.conn.Topology().RoomEvents(room), since)))
}

// EventAt returns an event of a room as the homeserver published it, or nil if ROOMS no longer
// holds it at the sequence seq.
func (s *Store) EventAt(ctx context.Context, room events.RoomID, seq uint64, event events.EventID) ([]byte, error) {
	page, _, err := s.conn.ReadPage(ctx, s.conn.Topology().RoomsOf(room), s.conn.Topology().RoomEvents(room), seq, 1)
	if err != nil {
		return nil, fmt.Errorf("look up an event: %w", err)
	}
	if len(page) == 0 || page[0].Sequence != seq {
		return nil, nil
	}
	// In a stream that was made anew, the sequence may belong to another event.
	ev, err := events.ParseRoomEvent(page[0].Data)
	if err != nil || ev.EventID != event || ev.RoomID != room {
		return nil, nil //nolint:nilerr // another message is at that sequence
	}
	return ev.Raw, nil
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
				Historical: stream.IsHistorical(msg.Header), Superseded: stream.IsSuperseded(msg.Header),
			}, nil) {
				return
			}
		}
	}
}
