package match

import (
	"context"
	"fmt"
	"math"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"poked/events"
	"poked/events/roomstore"
)

// rooms caches the state of the rooms that had events in one partition lately. A room that
// was evicted is read again with its next event. The goroutine that follows the partition
// owns rooms.
type rooms struct {
	store *roomstore.Store
	open  *simplelru.LRU[events.RoomID, *room]
	limit int // of the rooms of all partitions that the dispatcher owns
	share int // of the limit that is this partition's
	// after is the newest event that an earlier owner began. The events before it that it
	// left open are delivered first; a room's state at one of those lacks what followed, so
	// it is not kept.
	after   uint64
	avatars bool // rooms keep their avatars
}

func newRooms(store *roomstore.Store, limit int, after uint64) (*rooms, error) {
	limit = max(limit, 1)
	open, err := simplelru.NewLRU[events.RoomID, *room](limit, nil)
	if err != nil {
		return nil, fmt.Errorf("make room cache: %w", err)
	}
	return &rooms{store: store, open: open, limit: limit, share: limit, after: after}, nil
}

// divide sets the partition's part of the limit, by how many partitions the dispatcher
// owns.
func (rs *rooms) divide(owned int) {
	if share := max(rs.limit/max(owned, 1), 1); share != rs.share {
		rs.share = share
		rs.open.Resize(share)
	}
}

// before returns a room's state just before an event. An event that is delivered again
// after later ones is matched with the state of its own time.
func (rs *rooms) before(ctx context.Context, ev *events.RoomEvent, seq uint64) (*room, error) {
	id := ev.RoomID
	if r, ok := rs.open.Get(id); ok && r.seq < seq {
		return r, nil
	}
	return rs.load(ctx, id, seq)
}

// latest returns a room's newest known state, or else that just before a message. If the
// message waited while later ones of its room were matched, and the room was evicted, it
// returns an empty room that is not kept: nothing tells up to where the room was matched.
func (rs *rooms) latest(ctx context.Context, id events.RoomID, seq uint64, waited bool) (*room, error) {
	if r, ok := rs.open.Get(id); ok {
		return r, nil
	}
	if waited {
		r := rs.newRoom(id)
		r.begin(seq)
		r.lastNotifying.since = math.MaxUint64
		return r, nil
	}
	return rs.load(ctx, id, seq)
}

func (rs *rooms) newRoom(id events.RoomID) *room {
	r := newRoom(id)
	r.keepsAvatar = rs.avatars
	return r
}

func (rs *rooms) load(ctx context.Context, id events.RoomID, seq uint64) (*room, error) {
	r := rs.newRoom(id)
	// Also before m.room.create: when existing rooms are published, it is stored last.
	if err := rs.read(ctx, r, seq); err != nil {
		return nil, err
	}
	if newer, ok := rs.open.Peek(id); ok {
		r.recall = newer.recall // r is dropped afterwards, and what is learned meanwhile stays
	}
	return rs.keep(r, seq), nil
}

// keep caches a room's state just before a sequence, unless a newer state is cached.
func (rs *rooms) keep(r *room, seq uint64) *room {
	if newer, ok := rs.open.Peek(r.id); seq > rs.after && (!ok || newer.seq < seq) {
		rs.open.Add(r.id, r)
	}
	return r
}

func (rs *rooms) read(ctx context.Context, r *room, before uint64) error {
	for state, err := range rs.store.State(ctx, r.id, before) {
		if err != nil {
			return fmt.Errorf("read room state: %w", err)
		}
		if _, rest := events.SplitRoom(state.Subject); events.IsThreadSubscription(rest) {
			sub, _ := events.ParsePublishedThreadSubscription(state.Subject, state.Data) // as below
			r.subscribe(sub)
			continue
		}
		ev, err := events.ParsePublished(state.Subject, state.Data)
		if err != nil { // logged when the event was matched
			ev, _ = events.StateOn(state.Subject)
		}
		r.fold(&ev)
	}
	r.begin(before)
	return nil
}
