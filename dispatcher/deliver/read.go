package deliver

import (
	"context"

	"poked/events"
	"poked/events/partition"
	"poked/events/stream"
	"poked/events/wait"
)

// removal is something that has to be removed from the log: what a user has read, or the
// notification of a redacted event. Its message stays open until that is done.
type removal struct {
	msg  partition.Message
	user events.UserID
	room events.RoomID
	read events.Read // what was read, if redacted is 0
	// redacted is the sequence of a redacted event's notification.
	redacted uint64
	changed  bool // the user's pushers need a badge
}

// read handles a read marker: it removes what the user has read from the log and from
// their lanes.
func (d *Deliverer) read(ctx context.Context, msg partition.Message, s events.LogSubject) {
	read, err := events.ParseRead(msg.Data)
	if err != nil {
		d.bury(msg, err)
		return
	}
	rm := &removal{msg: msg, user: s.User, room: s.Room, read: read}
	// What it removes may have been removed before a crash, without a badge being sent: by
	// the marker itself, or by an earlier one that it replaced in the log.
	rm.changed = msg.Replayed || d.follower.Doubt() && !d.hasSentBadges(s.User)
	d.seen(s.User, msg.Time)
	if !d.Directory.Has(s.User) { // nobody keeps an inbox of a user without pushers
		d.search(ctx, rm)
		return
	}
	if wait.Until(ctx, wait.RetryPause, d.waiting, func() error { return d.learnUnread(ctx, s.User, 0) }) != nil {
		return // ctx has ended; the message stays open
	}
	if requests, known := d.removeKnown(rm); !known {
		d.search(ctx, rm)
	} else if requests != nil {
		d.send(rm, requests)
	}
}

// removeKnown removes from memory what the user's inbox knows to be read, and reports whether
// it knows enough. It returns the requests that remove it from the log, or nil if there is
// nothing to remove.
func (d *Deliverer) removeKnown(rm *removal) (requests *stream.Removal, known bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.people[rm.user]
	if r == nil || !d.isKnown(&r.unread) {
		return nil, false
	}
	requests = d.Conn.NewRemoval()
	n := 0
	d.resize(r, func() { n, known = r.unread.read(rm.user, rm.room, rm.read, rm.msg.Seq, requests) })
	if !known {
		return nil, false
	}
	if rm.changed = rm.changed || n > 0; rm.changed {
		r.forget(rm)
	}
	if n == 0 {
		d.removedKnown(rm)
		return nil, true
	}
	d.Counts.Read.Add(uint64(n))
	d.removing[rm.user]++
	return requests, true
}

// send sends the requests of a removal, and does not wait for the answers. If they fail, the
// next tick searches the log for what is left.
func (d *Deliverer) send(rm *removal, requests *stream.Removal) {
	requests.Send(func(err error) {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.removing[rm.user]--; d.removing[rm.user] == 0 {
			delete(d.removing, rm.user)
		}
		if err != nil { // it may also be gone already
			d.Log.Debug("not removed from the log, looking for what is left", "seq", rm.msg.Seq, "error", err)
			d.unremoved = append(d.unremoved, rm)
			return
		}
		d.removedKnown(rm)
	})
}

// removedKnown is called when nothing is left in the log of what the inbox knew. The caller
// holds the mutex.
func (d *Deliverer) removedKnown(rm *removal) {
	if !rm.changed {
		d.follower.Done(rm.msg.Seq)
		return
	}
	d.badgeChanged(rm.user, rm.msg.Seq)
}

// search removes what was read by searching the log for it, while the partition waits.
func (d *Deliverer) search(ctx context.Context, rm *removal) {
	err := wait.Until(ctx, wait.RetryPause, d.waiting, func() error {
		if rm.redacted > 0 {
			return d.Conn.RemoveNotification(ctx, rm.redacted)
		}
		removed, err := d.Conn.MarkRead(ctx, rm.user, rm.room, rm.read, rm.msg.Seq)
		rm.changed = rm.changed || removed > 0 || err != nil
		d.Counts.Read.Add(removed)
		return err
	})
	if err != nil {
		return // ctx has ended; the message stays open
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if r := d.people[rm.user]; r != nil && rm.changed {
		r.forget(rm)
		r.unread.doubt()
	}
	d.removedKnown(rm)
}

// removeAgain searches the log for what could not be removed.
func (d *Deliverer) removeAgain(ctx context.Context) {
	d.mu.Lock()
	again := d.unremoved
	d.unremoved = nil
	d.mu.Unlock()
	for _, rm := range again {
		d.search(ctx, rm)
	}
}

// redacted removes the notification of an event that was redacted.
func (d *Deliverer) redacted(_ context.Context, msg partition.Message, s events.LogSubject) {
	gone, err := events.ParseRedaction(msg.Data)
	if err != nil {
		d.bury(msg, err)
		return
	}
	rm := &removal{msg: msg, user: s.User, room: s.Room, redacted: gone.Seq, changed: true}
	requests := d.Conn.NewRemoval()
	requests.Delete(gone.Seq)
	d.redactKnown(rm)
	d.send(rm, requests)
}

// redactKnown removes the notification of a redacted event from memory.
func (d *Deliverer) redactKnown(rm *removal) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.removing[rm.user]++
	if r := d.people[rm.user]; r != nil {
		d.resize(r, func() { r.unread.redact(rm.room, rm.redacted) })
		r.forget(rm)
	}
}

// forget removes from the user's lanes what a removal covers.
func (r *recipient) forget(rm *removal) {
	for _, l := range r.lanes {
		l.forget(rm.covers)
	}
}

// covers reports whether a notification is removed.
func (rm *removal) covers(n *events.Notification, seq uint64, room events.RoomID) bool {
	if rm.redacted > 0 {
		return seq == rm.redacted
	}
	return room == rm.room && seq < rm.msg.Seq && rm.read.Covers(n.RoomSeq, n.Thread)
}
