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
	"poked/events/stream"
)

const (
	// archiveLimit is how many events the archives of a dispatcher's partitions
	// remember together, at 24 bytes each.
	archiveLimit = 1 << 20
	// archiveRooms is how many rooms one partition's archive remembers at most.
	archiveRooms = 1 << 12
	// askedLimit is of how many users a room's archive knows that all they have
	// unread was looked through.
	askedLimit = 1 << 10
	// archiveRecent is how far back a room is read at first: most of what is asked for
	// is recent, and to read all that there is takes a busy room a while.
	archiveRecent = time.Hour
)

// archive remembers where those events of one partition's rooms stand that are older
// than what their timelines know. A room's log is read once, when somebody names an
// event that is not known, and from then on only what was stored since: so neither
// an old event nor one that never was costs a second reading. The goroutine of
// searches fills it, and match asks it.
type archive struct {
	conn *stream.Conn

	mu    sync.Mutex
	rooms *simplelru.LRU[events.RoomID, *pastRoom]
	size  int // marks of all rooms
	share int // of archiveLimit
}

// pastRoom is what an archive knows of a room.
type pastRoom struct {
	// It knows all that ROOMS holds of the room from one sequence up to, without it,
	// another.
	from, upTo uint64
	whole      bool   // ROOMS holds nothing of the room before from
	marks      []mark // by id
	roots      roots
	notified   bool                       // all that anybody has unread in the room was looked through
	asked      map[events.UserID]struct{} // all that these users have unread was
}

func newArchive(conn *stream.Conn) (*archive, error) {
	a := &archive{conn: conn, share: archiveLimit}
	var err error
	a.rooms, err = simplelru.NewLRU(archiveRooms, func(_ events.RoomID, p *pastRoom) { a.size -= len(p.marks) })
	if err != nil {
		return nil, fmt.Errorf("make archive of rooms: %w", err)
	}
	return a, nil
}

// divide has the partition keep its part of the limit.
func (a *archive) divide(owned int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.share = archiveLimit / max(owned, 1)
	a.trim()
}

// trim forgets the rooms that were not asked of for longest. The caller holds the
// mutex.
func (a *archive) trim() {
	for a.size > a.share && a.rooms.Len() > 1 {
		a.rooms.RemoveOldest()
	}
}

// find returns where an event of a room stands, and the root of its thread.
func (a *archive) find(room events.RoomID, id events.EventID) (k mark, thread events.EventID, found bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p, ok := a.rooms.Get(room)
	if !ok {
		return mark{}, "", false
	}
	k, found = p.find(id)
	return k, p.roots.root(k.thread), found
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

// coversUnread reports whether all that a user has unread in a room was looked
// through, or all that anybody has if the user is "".
func (a *archive) coversUnread(room events.RoomID, user events.UserID) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	p, ok := a.rooms.Get(room)
	if !ok {
		return false
	}
	_, asked := p.asked[user]
	return p.notified || asked
}

// open returns a room, to be changed by the goroutine that fills the archive. What
// it does not know yet begins at a sequence, or ends there.
func (a *archive) open(room events.RoomID, at uint64) *pastRoom {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p, ok := a.rooms.Get(room); ok {
		return p
	}
	p := &pastRoom{from: at, upTo: at, asked: map[events.UserID]struct{}{}}
	a.rooms.Add(room, p)
	return p
}

// take adds marks to a room, and change says what is known by them. Of an event that
// was published more than once the first mark stays which is not historical.
func (a *archive) take(room events.RoomID, p *pastRoom, more []mark, change func()) {
	marks := p.marks // only the goroutine that is here changes them
	if len(more) > 0 {
		marks = slices.Concat(marks, more)
		slices.SortFunc(marks, func(k, l mark) int {
			return cmp.Or(cmp.Compare(k.id, l.id), compareBool(k.past, l.past), cmp.Compare(k.seq, l.seq), cmp.Compare(k.at, l.at))
		})
		marks = slices.CompactFunc(marks, func(k, l mark) bool { return k.id == l.id })
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if limit := max(a.share/2, 1); len(marks) > limit { // the newest are asked for most
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

// learn reads what ROOMS holds of a room before a sequence, as far as it is not known,
// until an event is found there: what was stored since the last time, then what is
// recent, then everything.
func (a *archive) learn(ctx context.Context, room events.RoomID, before uint64, found func(*pastRoom) bool) error {
	p := a.open(room, before)
	recent := p.from == p.upTo && !p.whole
	if p.upTo < before {
		log := a.conn.RoomLog(ctx, room, p.upTo)
		if _, err := a.read(room, p, log, before, func(uint64) { p.upTo = before }); err != nil || found(p) {
			return err
		}
	}
	if recent {
		log := a.conn.RoomLogSince(ctx, room, time.Now().Add(-archiveRecent))
		first, err := a.read(room, p, log, p.from, func(first uint64) { p.from = min(p.from, first) })
		if err != nil || first > 0 && found(p) {
			return err
		}
	}
	if p.whole {
		return nil
	}
	_, err := a.read(room, p, a.conn.RoomLog(ctx, room, 1), p.from, func(uint64) { p.whole = true })
	return err
}

// read takes in a part of a room's log that ends before a sequence, and returns where
// it began, 0 if there was nothing.
func (a *archive) read(room events.RoomID, p *pastRoom, log iter.Seq2[stream.LoggedEvent, error], before uint64, known func(first uint64)) (first uint64, err error) {
	var marks []mark
	roots := slices.Clone(p.roots)
	threads := map[uint64]uint16{} // of the events of this part
	threadBefore := func(id events.EventID) events.EventID {
		if number, ok := threads[hashOf(id)]; ok {
			return roots.root(number)
		}
		k, _ := p.find(id)
		return roots.root(k.thread)
	}
	first = before
	for logged, err := range log {
		if err != nil {
			return 0, err
		}
		if logged.Seq >= before {
			break
		}
		first = min(first, logged.Seq)
		ev, err := events.ParsePublished(logged.Subject, logged.Data)
		if err != nil {
			continue // it was a dead letter, and may be published again for the first time
		}
		k := mark{
			id: hashOf(ev.EventID), seq: logged.Seq, at: uint32(logged.Time.Unix()), //nolint:gosec // until 2106
			thread: roots.number(threadOf(ev.Content, threadBefore)), silent: logged.Historical, past: logged.Historical,
		}
		if k.thread > 0 {
			threads[k.id] = k.thread
		}
		marks = append(marks, k)
	}
	a.take(room, p, marks, func() { p.roots = roots; known(first) })
	return first, nil
}

// learnUnread takes in where the events stand that a user has unread in a room, or
// anybody if the user is "": NOTIFICATIONS keeps them for longer than ROOMS does.
func (a *archive) learnUnread(ctx context.Context, room events.RoomID, user events.UserID, before uint64) error {
	p := a.open(room, before)
	var marks []mark
	roots := slices.Clone(p.roots)
	for n, err := range a.conn.UnreadIn(ctx, room, user) {
		if err != nil {
			return err //nolint:wrapcheck // it says what was read
		}
		marks = append(marks, mark{
			id: hashOf(n.EventID), seq: n.RoomSeq, at: uint32(n.At.Unix()), thread: roots.number(n.Thread), //nolint:gosec // until 2106
		})
	}
	a.take(room, p, marks, func() {
		p.roots = roots
		if user == "" {
			p.notified = true
			return
		}
		if len(p.asked) >= askedLimit {
			clear(p.asked)
		}
		p.asked[user] = struct{}{}
	})
	return nil
}
