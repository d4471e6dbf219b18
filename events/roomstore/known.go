package roomstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidwall/gjson"

	"poked/events"
	"poked/events/stream"
)

// The bridge serves homeservers that do not know poked, so it learns from NATS whether a
// room's state is stored, and how far a room's events are.

// typeCreate is the type of the event that every room begins with. A seed stores it last,
// so a room whose m.room.create is stored is known.
const typeCreate = "m.room.create"

// Knows reports whether the room's state is in NATS: it was published from the room's
// beginning, or seeded ([Store.Seed]).
func (s *Store) Knows(ctx context.Context, room events.RoomID) (bool, error) {
	create, err := s.createOf(ctx, room)
	return create != nil, err
}

// Predecessor returns the room that a room replaces ("" if none), and whether the room's
// m.room.create is in NATS, which knows that (client-server API, "Room Upgrades").
func (s *Store) Predecessor(ctx context.Context, room events.RoomID) (old events.RoomID, known bool, err error) {
	create, err := s.createOf(ctx, room)
	if err != nil || create == nil {
		return "", false, err
	}
	return events.RoomID(gjson.GetBytes(create.Data, "content.predecessor.room_id").Str), true, nil
}

// createOf returns the message with a room's m.room.create, or nil.
func (s *Store) createOf(ctx context.Context, room events.RoomID) (*jetstream.RawStreamMsg, error) {
	at := s.placesOf(room, typeCreate, "")
	create, err := s.newestOn(ctx, at.filled, at.kept)
	if err != nil || create != nil {
		return create, err
	}
	// ROOM_STATE is filled a moment after ROOMS.
	return s.newestOn(ctx, at.rooms, at.published)
}

// NewestLike returns the id of the last event that ROOMS has on the subject of ev: for a
// state event the newest of its type and state key, else the newest event of the room
// that is not state. It is "" if there is none, or if that event was seeded or reported by a
// client, which does not imply that the events before it are stored.
func (s *Store) NewestLike(ctx context.Context, ev *events.RoomEvent) (events.EventID, error) {
	msg, err := s.newestOn(ctx, s.conn.Topology().RoomsOf(ev.RoomID), s.conn.Topology().StoredSubject(ev))
	if err != nil || msg == nil || stream.IsReported(msg.Header) {
		return "", err
	}
	return events.EventID(msg.Header.Get(jetstream.MsgIDHeader)), nil
}

// NewestOf returns the newest event of a room that ROOMS has, if it came in the homeserver's
// own order: it is nil if there is none, or if that event was seeded, or reported by a client.
func (s *Store) NewestOf(ctx context.Context, room events.RoomID) ([]byte, error) {
	rooms := s.conn.Topology().RoomsOf(room)
	msg, err := s.newestOn(ctx, rooms, s.conn.Topology().RoomSubject(room)+".event")
	if err != nil {
		return nil, err
	}
	state, err := s.newestOn(ctx, rooms, s.conn.Topology().RoomSubject(room)+".state.*.*")
	if err != nil {
		return nil, err
	}
	if msg == nil || stream.IsReported(msg.Header) || state != nil && state.Sequence > msg.Sequence {
		msg = state
	}
	if msg == nil || msg.Header.Get(jetstream.MsgIDHeader) == "" {
		return nil, nil
	}
	return msg.Data, nil
}

// newestOn returns the last message on a subject, which may have wildcards, or nil.
func (s *Store) newestOn(ctx context.Context, name, subject string) (*jetstream.RawStreamMsg, error) {
	ctx, cancel := context.WithTimeout(ctx, stream.RequestTimeout)
	defer cancel()
	from, err := s.conn.LookUp(ctx, name)
	if err != nil {
		return nil, err
	}
	msg, err := from.GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return msg, nil
}
