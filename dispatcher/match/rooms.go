package match

import (
	"context"
	"fmt"
	"math"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"poked/events"
	"poked/events/stream"
)

// rooms holds the state of the rooms that one partition has seen lately. A room
// that falls out is read again when it speaks next. The goroutine that follows
// the partition owns it.
type rooms struct {
	conn  *stream.Conn
	open  *simplelru.LRU[events.RoomID, *room]
	limit int // of the rooms of all partitions that the dispatcher owns
	share int // of the limit that is this partition's
	// after is the newest event that a predecessor worked through. What it left open
	// before that comes first, and a room as it was then would miss what followed.
	after uint64
}

func newRooms(conn *stream.Conn, limit int, after uint64) (*rooms, error) {
	limit = max(limit, 1)
	open, err := simplelru.NewLRU[events.RoomID, *room](limit, nil)
	if err != nil {
		return nil, fmt.Errorf("make room cache: %w", err)
	}
	return &rooms{conn: conn, open: open, limit: limit, share: limit, after: after}, nil
}

// divide has the partition keep its part of the limit, which it shares with as many
// as the dispatcher owns.
func (rs *rooms) divide(owned int) {
	if share := max(rs.limit/max(owned, 1), 1); share != rs.share {
		rs.share = share
		rs.open.Resize(share)
	}
}

// before returns a room's state as it was just before an event. An event that
// comes again after later ones is judged by the state of its own time.
func (rs *rooms) before(ctx context.Context, ev *events.RoomEvent, seq uint64) (*room, error) {
	id := ev.RoomID
	if r, ok := rs.open.Get(id); ok && r.seq < seq {
		return r, nil
	}
	return rs.load(ctx, id, seq)
}

// latest returns a room's state as it is known, or else as it was just before a
// message. If the message waited while later ones of its room were handled, and the
// room is not held any more, it returns one that knows nothing and is not kept: there
// is no telling how far the room has come.
func (rs *rooms) latest(ctx context.Context, id events.RoomID, seq uint64, waited bool) (*room, error) {
	if r, ok := rs.open.Get(id); ok {
		return r, nil
	}
	if waited {
		r := newRoom(id)
		r.begin(seq)
		r.lastNotifying.since = math.MaxUint64
		return r, nil
	}
	return rs.load(ctx, id, seq)
}

func (rs *rooms) load(ctx context.Context, id events.RoomID, seq uint64) (*room, error) {
	r := newRoom(id)
	// Also before m.room.create: of a room's state from before it is stored last.
	if err := rs.read(ctx, r, seq); err != nil {
		return nil, err
	}
	if newer, ok := rs.open.Peek(id); ok {
		r.recall = newer.recall // r goes, what is learned by it stays
	}
	return rs.keep(r, seq), nil
}

// keep remembers a room as it was just before a sequence, unless more is known.
func (rs *rooms) keep(r *room, seq uint64) *room {
	if newer, ok := rs.open.Peek(r.id); seq > rs.after && (!ok || newer.seq < seq) {
		rs.open.Add(r.id, r)
	}
	return r
}

func (rs *rooms) read(ctx context.Context, r *room, before uint64) error {
	for state, err := range rs.conn.RoomState(ctx, r.id, before) {
		if err != nil {
			return fmt.Errorf("read room state: %w", err)
		}
		ev, err := events.ParsePublished(state.Subject, state.Data)
		if err != nil { // reported when it came by
			ev, _ = events.StateOn(state.Subject)
		}
		r.fold(&ev)
	}
	r.begin(before)
	return nil
}
