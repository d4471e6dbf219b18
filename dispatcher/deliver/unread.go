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
		if err := wait.Until(ctx, wait.RetryPause, d.waiting, func() error { return d.learnUnread(ctx, s.User, 0) }); err != nil {
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

// errKeepsChanging reports that a user's log changed whenever it was looked at.
var errKeepsChanging = errors.New("what the user has unread keeps changing")

// errLogBehind reports an answer from a server that does not know yet what the last owner of
// the partition has handled: a leader that was cut off takes itself for one for a while. What
// such an inbox lacks would never arrive, and never be sent.
var errLogBehind = errors.New("the server that answered does not know the newest notifications")

const (
	// learnTries is how often the log of a user is looked at.
	learnTries = 40
	// learnPause is the pause before the log is looked at again, after it has changed or
	// while something is being removed from it.
	learnPause = 25 * time.Millisecond
)

// learnUnread reads what a user has unread from the log, at least up to a sequence, unless
// that is known. When it returns nil, the inbox was usable a moment ago.
func (d *Deliverer) learnUnread(ctx context.Context, user events.UserID, asOf uint64) error {
	for range learnTries {
		known, err := d.learnOnce(ctx, user, asOf)
		if known || err != nil {
			return err
		}
		if err := wait.For(ctx, learnPause); err != nil {
			return err
		}
	}
	return errKeepsChanging
}

// learnOnce looks at the log of a user once, and reports whether the inbox is usable.
func (d *Deliverer) learnOnce(ctx context.Context, user events.UserID, asOf uint64) (usable bool, err error) {
	d.mu.Lock()
	r := d.recipient(user)
	known, changes, removing := d.isKnown(&r.unread), r.unread.changes, d.removing[user]
	d.mu.Unlock()
	if known || removing > 0 {
		return known, nil
	}
	unread, upTo, err := d.Conn.Unread(ctx, user)
	if err != nil {
		return false, err
	}
	if upTo < max(asOf, d.follower.Cursor()) {
		return false, errLogBehind
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.people[user] != r {
		return true, nil // the user's last pusher was removed meanwhile, and nothing is to be known
	}
	d.resize(r, func() { r.unread.learn(&unread, upTo, changes) })
	return d.isUsable(&r.unread), nil
}

// isKnown reports whether an inbox need not be read from the log.
func (d *Deliverer) isKnown(in *inbox) bool {
	return d.isUsable(in) && !in.unsettled && time.Since(in.learned) < relearnAfter
}

// isUsable reports whether an inbox contains everything that the log holds. Of what arrived
// while it was read it may count some twice.
func (d *Deliverer) isUsable(in *inbox) bool {
	return !in.stale && (in.learnt || in.upTo > 0 || d.fresh)
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
