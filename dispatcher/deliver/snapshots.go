package deliver

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"poked/events"
	"poked/events/stream"
	"poked/events/wait"
)

const (
	// flushEvery is how often snapshots are stored, plus up to half as much at random: so
	// partitions do not all store theirs at once. What was written to the log since the
	// flush before the last is read again after a crash.
	flushEvery = 10 * time.Second
	// positionEvery is how often the position is stored at least: INBOX goes by age.
	positionEvery = time.Hour
	// flushBytes bounds what one write stores.
	flushBytes = 4 << 20
	// valueBytes bounds one snapshot.
	valueBytes = 768 << 10
	// unsyncedFor is how long NATS may take until what it has stored is on disk.
	unsyncedFor = 2 * time.Second
	// lastFlush bounds how long the last flush takes: beyond that it is better to let the
	// successor read the log.
	lastFlush = 2 * time.Second
)

// snapshots is what of the inboxes is not stored. The deliverer's mutex guards it.
type snapshots struct {
	rooms      []dirtyRoom
	complete   uint64 // everything up to this sequence of the log is in what was stored
	completeAt time.Time
	storedAt   time.Time // when the position was
}

// dirtyRoom is a room whose snapshot has to be stored.
type dirtyRoom struct {
	user events.UserID
	in   *inbox
	r    *unreadRoom
}

// touch records that a room has changed.
func (s *snapshots) touch(user events.UserID, in *inbox, r *unreadRoom) {
	if r.dirty {
		return
	}
	if r.dirty = true; !r.writing {
		in.unsaved++
	}
	s.rooms = append(s.rooms, dirtyRoom{events.UserID([]byte(user)), in, r})
}

// flushAll stores snapshots until ctx ends.
func (d *Deliverer) flushAll(ctx context.Context) {
	for wait.For(ctx, flushEvery+rand.N(flushEvery/2)) == nil { //nolint:gosec // jitter
		if !d.Gates.lease.Held() {
			continue // they may be another worker's
		}
		if err := d.flush(ctx, false); err != nil && ctx.Err() == nil {
			d.Log.Warn("what users have not read is not stored, trying again", "error", err)
		}
	}
}

// flush stores the snapshots of all rooms that have changed, and the position: that of the
// flush before, for a power cut may take the newest version of some of these. The last
// flush of all stores its own.
func (d *Deliverer) flush(ctx context.Context, last bool) error {
	begin, err := d.Conn.LogBeginLately(ctx, d.Part)
	if err != nil {
		return err
	}
	d.mu.Lock()
	d.logBegin = max(d.logBegin, begin)
	upTo := max(d.applied, d.position.Seq)
	rooms := d.snapshots.rooms
	d.snapshots.rooms = nil
	position := d.position
	d.mu.Unlock()
	if time.Since(d.snapshots.completeAt) >= flushEvery/2 {
		position.Sure = max(position.Sure, d.snapshots.complete)
	}
	if position.Seq = max(position.Seq, d.snapshots.complete); last {
		position.Seq = upTo
	}
	for first := true; len(rooms) > 0 || first; first = false {
		values, n := d.encode(rooms, &position)
		if n == 0 && !d.isDue(position) {
			break
		}
		err := d.store.Write(ctx, values, position.Encode())
		d.flushed(rooms[:n], rooms[n:], position, err)
		if conflict := new(stream.ConflictError); errors.As(err, &conflict) {
			d.mu.Lock()
			d.fence(conflict)
			d.mu.Unlock()
		}
		if err != nil {
			return fmt.Errorf("store snapshots: %w", err)
		}
		rooms = rooms[n:]
	}
	d.mu.Lock()
	d.snapshots.complete, d.snapshots.completeAt = upTo, time.Now()
	d.mu.Unlock()
	return nil
}

// isDue reports whether a position has to be stored although no room has changed.
func (d *Deliverer) isDue(position events.InboxPosition) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return position.Seq != d.position.Seq || position.Sure != d.position.Sure || time.Since(d.snapshots.storedAt) > positionEvery
}

// encode makes snapshots of some rooms, and returns of how many. The head of the position
// then includes them.
func (d *Deliverer) encode(rooms []dirtyRoom, position *events.InboxPosition) (values []stream.InboxValue, n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	size := 0
	for n < len(rooms) && n < stream.InboxBatch && size < flushBytes {
		dirty := &rooms[n]
		r := dirty.r
		r.dirty, r.writing = false, true
		r.Applied, r.Incarnation = max(r.Applied, d.applied), position.Incarnation
		value := r.encode()
		values = append(values, stream.InboxValue{User: dirty.user, Room: r.id, Value: value})
		size += len(value)
		n++
	}
	if d.applied > position.Head {
		position.Head, position.HeadAt = d.applied, d.appliedAt
	}
	return values, n
}

// encode returns the snapshot of a room. Of more entries than NATS takes it holds the newest, at
// least 30 000 if they are of few threads.
func (r *unreadRoom) encode() []byte {
	value := r.AppendJSON(nil)
	for whole := *r; len(value) > valueBytes; value = whole.AppendJSON(nil) {
		whole.forgetFirst((len(whole.Entries) + 7) / 8)
	}
	return value
}

// flushed handles the answer to a write of some rooms. If it failed, they and the rest have
// to be stored again.
func (d *Deliverer) flushed(rooms, rest []dirtyRoom, position events.InboxPosition, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range rooms {
		in, r := rooms[i].in, rooms[i].r
		r.writing = false
		switch {
		case err != nil && !r.dirty:
			r.dirty = true
			d.snapshots.rooms = append(d.snapshots.rooms, rooms[i])
		case err != nil, r.dirty: // it stands in the list already
		default:
			in.unsaved--
			d.dropEmpty(&rooms[i])
		}
	}
	if err != nil {
		d.snapshots.rooms = append(d.snapshots.rooms, rest...)
		return
	}
	d.position, d.snapshots.storedAt = position, time.Now()
}

// dropEmpty forgets a room without anything unread whose snapshot is stored.
func (d *Deliverer) dropEmpty(dirty *dirtyRoom) {
	in, r := dirty.in, dirty.r
	if !r.isEmpty() {
		return
	}
	delete(in.rooms, r.id)
	d.resize(in, func() { in.bytes -= roomBytes })
}
