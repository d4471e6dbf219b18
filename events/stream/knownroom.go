package stream

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

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
	create := "." + events.Token(typeCreate) + "." + events.NoToken
	known, err := c.newestOn(ctx, streamRoomState, "state."+events.Token(room)+create)
	if err != nil || known != nil {
		return known != nil, err
	}
	// ROOM_STATE is filled a moment after ROOMS.
	known, err = c.newestOn(ctx, Rooms, c.roomSubject(room)+".state"+create)
	return known != nil, err
}

// NewestLike returns the id of the last event that ROOMS has on the subject of ev: for a
// state event the newest of its type and state key, else the newest event of the room
// that is not state. It is "" if there is none, or if that event was seeded, which does
// not imply that the events before it are stored.
func (c *Conn) NewestLike(ctx context.Context, ev *events.RoomEvent) (events.EventID, error) {
	msg, err := c.newestOn(ctx, Rooms, c.storedSubject(ev))
	if err != nil || msg == nil {
		return "", err
	}
	return events.EventID(msg.Header.Get(jetstream.MsgIDHeader)), nil
}

// newestOn returns the last message on a subject, or nil.
func (c *Conn) newestOn(ctx context.Context, stream, subject string) (*jetstream.RawStreamMsg, error) {
	ctx, cancel := context.WithTimeout(ctx, RequestTimeout)
	defer cancel()
	s, err := c.js.Stream(ctx, stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		err = ErrNoStreams
	}
	if err != nil {
		return nil, fmt.Errorf("look up stream %s: %w", stream, err)
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
