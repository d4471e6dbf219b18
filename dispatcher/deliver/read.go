package deliver

import (
	"context"

	"poked/events"
	"poked/events/partition"
	"poked/events/wait"
)

// read handles a read marker: it removes what the user has read from the log and from
// their lanes.
func (d *Deliverer) read(ctx context.Context, msg partition.Message, s events.LogSubject) {
	read, err := events.ParseRead(msg.Data)
	if err != nil {
		d.bury(msg, err)
		return
	}
	// What it removes may have been removed before a crash, without a badge being sent: by
	// the marker itself, or by an earlier one that it replaced in the log.
	changed := msg.Replayed || d.follower.Doubt() && !d.hasSentBadges(s.User)
	err = wait.Until(ctx, wait.RetryPause, d.waiting, func() error {
		removed, err := d.Conn.MarkRead(ctx, s.User, s.Room, read, msg.Seq)
		changed = changed || removed > 0 || err != nil
		d.Counts.Read.Add(removed)
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

// redacted removes the notification of an event that was redacted.
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

// cleared removes what left the log from a user's lanes, and schedules a badge, if
// anything changed.
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
	d.badgeChanged(user, msg.Seq)
}
