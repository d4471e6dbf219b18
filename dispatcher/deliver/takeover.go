package deliver

import (
	"context"
	"time"

	"errors"
	"slices"

	"poked/dispatcher/directory"
	"poked/dispatcher/poke"
	"poked/events"
	"poked/events/partition"
	"poked/events/stream"
)

// Prepare takes over the partition from its last owner: first the snapshots, which that one
// cannot write any more then, and then the records of lagging pushers.
func (d *Deliverer) Prepare(ctx context.Context, f *partition.Follower, part int) error {
	if err := d.claim(ctx, f, part); err != nil {
		return err
	}
	lagging, err := d.Conn.LoadBacklog(ctx, part)
	if err != nil {
		return err
	}
	d.find(part, lagging)
	if err := d.allKnown(ctx, lagging); err != nil {
		return err
	}
	d.restore(f, lagging)
	return nil
}

// claim takes over the snapshots of the partition. If the log has lost its end, nothing that
// they say of what came after the position holds.
func (d *Deliverer) claim(ctx context.Context, f *partition.Follower, part int) error {
	store, stored, err := d.Conn.Inbox(ctx, part, d.Worker)
	if err != nil {
		return err
	}
	var position events.InboxPosition
	if stored.There {
		position, err = events.ParseInboxPosition([]byte(stored.Value))
		if err != nil { // all of the log is read
			if err := store.KeepBadPosition(ctx, stored, err); err != nil {
				return err
			}
		}
	}
	lost, upTo, err := d.lostEnd(ctx, f, &position)
	if err != nil {
		return err
	}
	if lost {
		d.Log.Warn("the log has lost its end, going on from what is left", "last_seq", upTo, "position", position.Seq, "head", position.Head)
		position.Cut(upTo, time.Now(), time.Now().Add(-2*stream.LongestKeep))
		f.Rewind(upTo)
	}
	position.Stream = f.Made()
	if err := store.Claim(ctx, position.Encode()); err != nil {
		return err
	}
	begin, err := d.Conn.LogBegin(ctx, d.Part)
	if err != nil {
		return err
	}
	f.Replay(position.Seq)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.store, d.position, d.logBegin = store, position, begin
	d.snapshots.complete, d.snapshots.completeAt, d.snapshots.storedAt = position.Seq, time.Now(), time.Now()
	d.recent.after = f.Begin()
	return nil
}

// lostEnd reports whether the log lacks messages that the snapshots include, and up to which
// sequence what it holds is certain.
func (d *Deliverer) lostEnd(ctx context.Context, f *partition.Follower, position *events.InboxPosition) (lost bool, upTo uint64, err error) {
	if position.Stream.IsZero() {
		return f.LostEnd(), 0, nil
	}
	if !position.Stream.Equal(f.Made()) {
		return true, 0, nil
	}
	if position.Head == 0 {
		return f.LostEnd(), 0, nil
	}
	log := d.Conn.Topology().StreamOf(stream.Notifications, d.Part)
	_, end, err := d.Conn.StreamEnd(ctx, log)
	if err != nil {
		return false, 0, err
	}
	at, err := d.Conn.LoggedAt(ctx, log, position.Head)
	if err != nil {
		return false, 0, err
	}
	return f.LostEnd() || end < position.Head || !at.IsZero() && !at.Equal(position.HeadAt), min(position.Sure, end), nil
}

// find looks up the users of pushers whose records could not be read: these lag from the
// beginning of their user's log. The record of a pusher that is gone is deleted.
func (d *Deliverer) find(part int, lagging map[events.PusherID]events.Backlog) {
	lost := map[events.PusherID]events.UserID{}
	for id, b := range lagging {
		if b.Lost {
			lost[id] = ""
		}
	}
	if len(lost) == 0 {
		return
	}
	d.Directory.Find(part, lost)
	for id, user := range lost {
		b := lagging[id]
		if user != "" {
			lagging[id] = events.Backlog{UserID: user, Since: time.Now(), LastError: poke.ClassRecord.String(), Revision: b.Revision}
			continue
		}
		delete(lagging, id)
		d.Conn.DropBacklog(part, id, b.Revision, func(err error) {
			if err != nil {
				d.Log.Warn("unreadable record of a pusher that is gone not deleted", "pusher", id, "error", err)
			}
		})
	}
}

// restore restores the lanes that lagged under the last owner. What lies beyond the cursor
// arrives live, from the follower.
func (d *Deliverer) restore(f *partition.Follower, lagging map[events.PusherID]events.Backlog) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.follower = f
	d.restoring = true
	for id, b := range lagging {
		l := findLane(d.recipient(b.UserID).lanes, id)
		if l == nil { // its pusher was removed meanwhile
			l = &lane{d: d, pusher: &directory.Pusher{ID: id, User: b.UserID}, gone: true}
			l.record.entry = d.record(l.pusher, b.Revision)
			d.ending[id] = l // the pusher may be set again before the record is deleted
			l.save()
			continue
		}
		l.restoredTo, l.handed = d.follower.Cursor(), b.Handed
		if latest := time.Now().Add(poke.SlowLimit); b.NextTry.After(latest) {
			b.NextTry = latest // the clock of its writer is ahead
		}
		l.record.entry, l.record.covers = d.record(l.pusher, b.Revision), true
		l.lag = &lag{
			position: min(b.Position, d.follower.Cursor()), target: d.follower.Cursor(), attempts: b.Attempts, alone: b.Alone,
			since: b.Since, nextTry: b.NextTry, failure: poke.ParseFailure(b.LastError),
			passedOver: b.PassedOver, waiting: notCounted, badge: b.Badge,
			calls: deliveredCalls(b.Rang),
		}
		if b.Badge && l.clears(&cleared{asked: true}) {
			l.lag.clearing = &cleared{} // of which rooms is not known any more
		}
		switch l.lag.failure.Class {
		case poke.ClassBehind, poke.ClassStopped:
		default:
			l.lag.failed = true
		}
		l.lagsAt(l.pusher.Origin())
		d.Gates.restored(l.lag.gate, b.Since, b.PausedUntil)
		d.Gates.sleep(l, b.NextTry)
		l.save() // at a new revision, so that a late write of the last owner conflicts
	}
	for _, r := range d.people {
		r.inherit(d)
	}
	d.restoring = false
}

// errPushersLate reports that the watch of PUSHERS has not reached the value of a user.
var errPushersLate = errors.New("a lagging pusher may be one that is not known here yet")

// allKnown returns nil if every lagging pusher is known or removed: the directory is as new
// as PUSHERS for its user. The record of a pusher that only the last owner knew must not be
// taken for that of a removed one.
func (d *Deliverer) allKnown(ctx context.Context, lagging map[events.PusherID]events.Backlog) error {
	for id, b := range lagging {
		if slices.ContainsFunc(d.Directory.Pushers(b.UserID), func(p *directory.Pusher) bool { return p.ID == id }) {
			continue
		}
		revision, err := d.Conn.PushersRevision(ctx, b.UserID)
		if err != nil {
			return err
		}
		if !d.Directory.IsCurrent(b.UserID, revision) {
			return errPushersLate
		}
	}
	return nil
}
