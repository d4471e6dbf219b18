package deliver

import (
	"context"

	"poked/events"
	"poked/events/partition"
	"poked/events/wait"
)

// read takes in how far a user has read a room: what is read leaves their log, and
// what a lane has in hand of it is not told.
func (d *Deliverer) read(ctx context.Context, msg partition.Message, s events.LogSubject) {
	read, err := events.ParseRead(msg.Data)
	if err != nil {
		d.bury(msg, err)
		return
	}
	// What it removes may have been removed before a death, and nobody been told: by
	// itself, or by one before it whose place it took in the log.
	changed := msg.Replayed || d.follower.Doubt() && !d.hasTold(s.User)
	err = wait.Until(ctx, wait.RetryPause, d.waiting, func() error {
		removed, err := d.Conn.MarkRead(ctx, s.User, s.Room, read, msg.Seq)
		changed = changed || removed > 0 || err != nil
		d.Counts.read.Add(removed)
		return err
	})
	if err != nil {
		return // ctx has ended; the message stays open
	}
	d.seen(s.User, msg.Time)
	d.cleared(msg, s.User, changed, func(n *events.Notification, seq uint64, room events.RoomID) bool {
		return room == s.Room && seq < msg.Seq && read.Covers(n.RoomSeq, n.Thread)
	})
}

// redacted takes in that the event of a notification was redacted.
func (d *Deliverer) redacted(ctx context.Context, msg partition.Message, s events.LogSubject) {
	gone, err := events.ParseRedaction(msg.Data)
	if err != nil {
		d.bury(msg, err)
		return
	}
	err = wait.Until(ctx, wait.RetryPause, d.waiting, func() error { return d.Conn.RemoveNotification(ctx, gone.Seq) })
	if err != nil {
		return
	}
	d.cleared(msg, s.User, true, func(_ *events.Notification, seq uint64, _ events.RoomID) bool { return seq == gone.Seq })
}

// cleared has a user's lanes forget what left the log, and tell how much is unread,
// if anything did.
func (d *Deliverer) cleared(msg partition.Message, user events.UserID, changed bool, gone func(*events.Notification, uint64, events.RoomID) bool) {
	if !changed {
		d.follower.Done(msg.Seq)
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if r := d.people[user]; r != nil {
		for _, l := range r.lanes {
			l.forget(gone)
		}
	}
	d.owe(user, msg.Seq)
}
