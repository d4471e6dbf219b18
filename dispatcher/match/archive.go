package match

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"poked/events"
	"poked/events/roomstore"
)

const (
	// archiveLimit is how many events the archives of all of a dispatcher's partitions
	// remember together, at 40 bytes each.
	archiveLimit = 1 << 20
	// archiveRooms is how many rooms one partition's archive remembers at most.
	archiveRooms = 1 << 12
	// archiveRecent is how far back a room is read at first: most events that are looked up
	// are recent, and reading all of a busy room takes a while.
	archiveRecent = time.Hour
)

// archive remembers the sequences of events that are older than what the timelines of one
// partition's rooms remember. A room is read from ROOMS once, when a receipt or an event
// names an unknown event, and later only what was stored since: neither an old event nor
// one that never existed costs a second reading. The goroutine of searches fills the
// archive, and the follower's goroutine asks it.
type archive struct {
	store *roomstore.Store

	mu    sync.Mutex
	rooms *simplelru.LRU[events.RoomID, *pastRoom]
	size  int // marks of all rooms
	share int // of archiveLimit
}

// pastRoom is what an archive knows of a room.
type pastRoom struct {
	// It knows all that ROOMS holds of the room from sequence from up to upTo, exclusive.
	from, upTo uint64
	whole      bool   // ROOMS holds nothing of the room before from
	marks      []mark // by id
	roots      roots
}

func newArchive(store *roomstore.Store) (*archive, error) {
	a := &archive{store: store, share: archiveLimit}
	var err error
	a.rooms, err = simplelru.NewLRU(archiveRooms, func(_ events.RoomID, p *pastRoom) { a.size -= len(p.marks) })
	if err != nil {
		return nil, fmt.Errorf("make archive of rooms: %w", err)
	}
	return a, nil
}

// divide sets the partition's part of the limit, by how many partitions the dispatcher
// owns.
func (a *archive) divide(owned int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.share = archiveLimit / max(owned, 1)
	a.trim()
}

// trim forgets the rooms that were not looked up for longest. The caller holds the mutex.
func (a *archive) trim() {
	for a.size > a.share && a.rooms.Len() > 1 {
		a.rooms.RemoveOldest()
	}
}

// find returns the mark of an event, and where it belongs.
func (a *archive) find(room events.RoomID, id events.EventID) (k mark, in place, found bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p, ok := a.rooms.Get(room)
	if !ok {
		return mark{}, place{}, false
	}
	k, found = p.find(id)
	return k, p.roots.decode(k.thread), found
}

func (p *pastRoom) find(id events.EventID) (mark, bool) {
	i, found := slices.BinarySearchFunc(p.marks, hashOf(id), func(k mark, id uint64) int { return cmp.Compare(k.id, id) })
	if !found {
		return mark{}, false
	}
	return p.marks[i], true
}

// covers reports whether all that ROOMS holds of a room before a sequence is known.
func (a *archive) covers(room events.RoomID, before uint64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	p, ok := a.rooms.Get(room)
	return ok && p.whole && p.upTo >= before
}

// open returns a room for the goroutine that fills the archive to change. A new room knows
// nothing before or after a sequence.
func (a *archive) open(room events.RoomID, at uint64) *pastRoom {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p, ok := a.rooms.Get(room); ok {
		return p
	}
	p := &pastRoom{from: at, upTo: at}
	a.rooms.Add(room, p)
	return p
}

// merge adds marks to a room, and calls change under the lock to record what is known with
// them. If an event was published more than once, the first mark that is not historical
// stays.
func (a *archive) merge(room events.RoomID, p *pastRoom, more []mark, change func()) {
	marks := p.marks // only this goroutine changes them
	if len(more) > 0 {
		marks = slices.Concat(marks, more)
		slices.SortFunc(marks, func(k, l mark) int {
			return cmp.Or(cmp.Compare(k.id, l.id), compareBool(k.past, l.past), cmp.Compare(k.seq, l.seq), cmp.Compare(k.at, l.at))
		})
		marks = slices.CompactFunc(marks, func(k, l mark) bool { return k.id == l.id })
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if limit := max(a.share/2, 1); len(marks) > limit { // the newest are looked up most
		slices.SortFunc(marks, func(k, l mark) int { return cmp.Compare(l.seq, k.seq) })
		marks = slices.Clone(marks[:limit])
		slices.SortFunc(marks, func(k, l mark) int { return cmp.Compare(k.id, l.id) })
	}
	if held, ok := a.rooms.Peek(room); ok && held == p {
		a.size += len(marks) - len(p.marks)
	}
	p.marks = marks
	change()
	a.trim()
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// learn reads what ROOMS holds of a room before a sequence and is not known yet, until
// found reports true: first what was stored since the last reading, then what is recent,
// then everything.
func (a *archive) learn(ctx context.Context, room events.RoomID, before uint64, found func(*pastRoom) bool) error {
	p := a.open(room, before)
	recent := p.from == p.upTo && !p.whole
	if p.upTo < before {
		log := a.store.Log(ctx, room, p.upTo)
		if err := a.read(room, p, log, before, func(uint64) { p.upTo = before }); err != nil || found(p) {
			return err
		}
	}
	if recent {
		log := a.store.LogSince(ctx, room, time.Now().Add(-archiveRecent))
		err := a.read(room, p, log, p.from, func(first uint64) { p.from = min(p.from, first) })
		if err != nil || found(p) {
			return err
		}
	}
	if p.whole {
		return nil
	}
	return a.read(room, p, a.store.Log(ctx, room, 1), p.from, func(uint64) { p.whole = true })
}

// read adds the part of a room's log that ends before a sequence. It calls known with the
// part's first sequence, or before if it is empty, to record what is known with it.
func (a *archive) read(room events.RoomID, p *pastRoom, log iter.Seq2[roomstore.LoggedEvent, error], before uint64, known func(first uint64)) error {
	var marks []mark
	roots := slices.Clone(p.roots)
	threads := map[uint64]uint16{} // of the events of this part
	placeBefore := func(id events.EventID) place {
		if encoded, ok := threads[hashOf(id)]; ok {
			return roots.decode(encoded)
		}
		k, _ := p.find(id)
		return roots.decode(k.thread)
	}
	first := before
	for logged, err := range log {
		if err != nil {
			return err
		}
		if logged.Seq >= before {
			break
		}
		first = min(first, logged.Seq)
		ev, err := events.ParseMarked(logged.Subject, logged.Data, logged.Superseded)
		if err != nil {
			continue // match wrote a dead letter; the event may yet be published for the first time
		}
		k := mark{
			id: hashOf(ev.EventID), seq: logged.Seq, at: uint32(logged.Time.Unix()), //nolint:gosec // until 2106
			thread: roots.encode(placeOf(ev.Content, placeBefore)), silent: logged.Historical, past: logged.Historical,
		}
		if k.thread > 0 {
			threads[k.id] = k.thread
		}
		marks = append(marks, k)
	}
	a.merge(room, p, marks, func() { p.roots = roots; known(first) })
	return nil
}
