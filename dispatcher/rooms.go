package dispatcher

import (
	"context"
	"fmt"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"poked/events"
)

// rooms holds the state of the rooms that one partition has seen lately. A room
// that falls out is read again when it speaks next. The goroutine that follows
// the partition owns it.
type rooms struct {
	conn *events.Conn
	open *simplelru.LRU[events.RoomID, *room]
}

func newRooms(conn *events.Conn, limit int) (*rooms, error) {
	open, err := simplelru.NewLRU[events.RoomID, *room](max(limit, 1), nil)
	if err != nil {
		return nil, fmt.Errorf("make room cache: %w", err)
	}
	return &rooms{conn: conn, open: open}, nil
}

// before returns a room's state as it was just before an event. An event that
// comes again after later ones is judged by the state of its own time.
func (rs *rooms) before(ctx context.Context, ev *events.RoomEvent, seq uint64) (*room, error) {
	id := ev.RoomID
	if r, ok := rs.open.Get(id); ok && r.seq < seq {
		return r, nil
	}
	r := newRoom(id)
	// Also before m.room.create: of a room's state from before it is stored last.
	if err := rs.read(ctx, r, seq); err != nil {
		return nil, err
	}
	if newer, ok := rs.open.Peek(id); !ok || newer.seq < seq {
		rs.open.Add(id, r)
	}
	return r, nil
}

func (rs *rooms) read(ctx context.Context, r *room, before uint64) error {
	for state, err := range rs.conn.RoomState(ctx, r.id, before) {
		if err != nil {
			return fmt.Errorf("read room state: %w", err)
		}
		// What cannot be read was reported when it came by.
		if ev, err := events.ParseRoomEvent(state.Data); err == nil && ev.IsState {
			r.fold(&ev)
		}
	}
	r.seq = before - 1
	return nil
}
