package deliver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"poked/events"
	"poked/events/wait"
)

// BadgeOf is what the unread count of a poke counts.
type BadgeOf string

// What an unread count may count.
const (
	BadgeMessages BadgeOf = "messages" // notifications
	BadgeRooms    BadgeOf = "rooms"    // rooms that have notifications
	BadgeNone     BadgeOf = "none"     // nothing: pokes carry no counts
)

// Validate returns an error if b is none of them.
func (b BadgeOf) Validate() error {
	switch b {
	case BadgeMessages, BadgeRooms, BadgeNone:
		return nil
	}
	return fmt.Errorf("--badge must be %s, %s or %s", BadgeMessages, BadgeRooms, BadgeNone)
}

// relearnAfter is how long a count is trusted: notifications expire from the log without a
// message.
const relearnAfter = 24 * time.Hour

// count adds a notification to its user's inbox, and sets its unread count: up to this
// notification or, if the log held more of them when it was read, up to those. A badge shows
// what is unread, not when it arrived.
func (d *Deliverer) count(ctx context.Context, s events.LogSubject, it *item) error {
	if d.Badge != BadgeNone {
		if err := wait.Until(ctx, wait.RetryPause, d.waiting, func() error { return d.learnUnread(ctx, s.User) }); err != nil {
			return err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.recipient(s.User)
	if d.Badge == BadgeNone && !d.isKnown(&r.unread) {
		return nil
	}
	d.resize(r, func() { r.unread.add(threadKey{s.Room, s.Thread}, placeOf(it.seq, &it.n)) })
	it.unread = r.unread.badge(d.Badge)
	return nil
}

// errRemoving reports that what a user has read is being removed from the log.
var errRemoving = errors.New("what was read is being removed")

// learnUnread reads what a user has unread from the log, unless that is known.
func (d *Deliverer) learnUnread(ctx context.Context, user events.UserID) error {
	d.mu.Lock()
	r := d.recipient(user)
	known, changes, removing := d.isKnown(&r.unread), r.unread.changes, r.removing
	d.mu.Unlock()
	switch {
	case known:
		return nil
	case removing > 0:
		return errRemoving
	}
	unread, upTo, err := d.Conn.Unread(ctx, user)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.people[user] == r { // else the user's last pusher was removed meanwhile
		d.resize(r, func() { r.unread.learn(&unread, upTo, changes) })
	}
	return nil
}

// isKnown reports whether an inbox need not be read from the log.
func (d *Deliverer) isKnown(in *inbox) bool {
	return !in.stale && (in.learnt || in.upTo > 0 || d.fresh) && time.Since(in.learned) < relearnAfter
}

// notFresh records that a user may have something unread that no recipient counted.
func (d *Deliverer) notFresh() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fresh = false
}

// resize calls change, which changes an inbox, and keeps account of the memory. The caller
// holds the mutex.
func (d *Deliverer) resize(r *recipient, change func()) {
	before := r.unread.bytes
	change()
	d.inboxBytes += r.unread.bytes - before
}

// recentLimit returns how many bytes this partition's inboxes may take, and as many its
// newest notifications.
func (d *Deliverer) recentLimit() int {
	return int(d.Recent) / 2 / max(int(d.Owned.Load()), 1)
}

// sweep forgets inboxes that were not used since the last sweep, once they take more memory
// than they may.
func (d *Deliverer) sweep() {
	limit := d.recentLimit()
	if d.inboxBytes <= limit {
		return
	}
	for range 2 { // the second time around none was used
		for _, r := range d.people {
			if !r.unread.used {
				d.resize(r, r.unread.release)
			}
			if r.unread.used = false; d.inboxBytes <= limit/4*3 {
				return
			}
		}
	}
}
