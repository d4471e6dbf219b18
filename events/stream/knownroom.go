package stream

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidwall/gjson"

	"poked/events"
)

// The bridge serves homeservers that do not know poked, so it learns from NATS whether a
// room's state is stored, and how far a room's events are.

// typeCreate is the type of the event that every room begins with. A seed stores it last,
// so a room whose m.room.create is stored is known.
const typeCreate = "m.room.create"

// KnowsRoom reports whether the room's state is in NATS: it was published from the room's
// beginning, or seeded ([Conn.SeedRoom]).
func (c *Conn) KnowsRoom(ctx context.Context, room events.RoomID) (bool, error) {
	create, err := c.createOf(ctx, room)
	return create != nil, err
}

// Predecessor returns the room that a room replaces ("" if none), and whether the room's
// m.room.create is in NATS, which knows that (client-server API, "Room Upgrades").
func (c *Conn) Predecessor(ctx context.Context, room events.RoomID) (old events.RoomID, known bool, err error) {
	create, err := c.createOf(ctx, room)
	if err != nil || create == nil {
		return "", false, err
	}
	return events.RoomID(gjson.GetBytes(create.Data, "content.predecessor.room_id").Str), true, nil
}

// createOf returns the message with a room's m.room.create, or nil.
func (c *Conn) createOf(ctx context.Context, room events.RoomID) (*jetstream.RawStreamMsg, error) {
	subject := "." + events.Token(typeCreate) + "." + events.NoToken
	token := events.Token(room)
	create, err := c.newestOn(ctx, c.topology.StateOf(token), "state."+token+subject)
	if err != nil || create != nil {
		return create, err
	}
	// ROOM_STATE is filled a moment after ROOMS.
	return c.newestOn(ctx, c.topology.RoomsOf(room), c.topology.roomSubject(room)+".state"+subject)
}

// NewestLike returns the id of the last event that ROOMS has on the subject of ev: for a
// state event the newest of its type and state key, else the newest event of the room
// that is not state. It is "" if there is none, or if that event was seeded or reported by a
// client, which does not imply that the events before it are stored.
func (c *Conn) NewestLike(ctx context.Context, ev *events.RoomEvent) (events.EventID, error) {
	msg, err := c.newestOn(ctx, c.topology.RoomsOf(ev.RoomID), c.topology.storedSubject(ev))
	if err != nil || msg == nil || IsReported(msg.Header) {
		return "", err
	}
	return events.EventID(msg.Header.Get(jetstream.MsgIDHeader)), nil
}

// NewestOf returns the newest event of a room that ROOMS has, if it came in the homeserver's
// own order: it is nil if there is none, or if that event was seeded, or reported by a client.
func (c *Conn) NewestOf(ctx context.Context, room events.RoomID) ([]byte, error) {
	rooms := c.topology.RoomsOf(room)
	msg, err := c.newestOn(ctx, rooms, c.topology.roomSubject(room)+".event")
	if err != nil {
		return nil, err
	}
	state, err := c.newestOn(ctx, rooms, c.topology.roomSubject(room)+".state.*.*")
	if err != nil {
		return nil, err
	}
	if msg == nil || IsReported(msg.Header) || state != nil && state.Sequence > msg.Sequence {
		msg = state
	}
	if msg == nil || msg.Header.Get(jetstream.MsgIDHeader) == "" {
		return nil, nil
	}
	return msg.Data, nil
}

// newestOn returns the last message on a subject, which may have wildcards, or nil.
func (c *Conn) newestOn(ctx context.Context, stream, subject string) (*jetstream.RawStreamMsg, error) {
	ctx, cancel := context.WithTimeout(ctx, RequestTimeout)
	defer cancel()
	s, err := c.LookUp(ctx, stream)
	if err != nil {
		return nil, err
	}
	msg, err := s.GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", stream, err)
	}
	return msg, nil
}
