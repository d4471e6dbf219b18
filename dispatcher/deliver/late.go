package deliver

import (
	"context"
	"time"

	"poked/events"
)

// late is a user for whom match, when it decided, knew a newer revision of PUSHERS than this
// dispatcher does now: usually for milliseconds, for seconds after the watch of PUSHERS lost
// something or began anew. A notification that went to the pushers known here would miss a
// new one (G1), so the user's notifications wait, in order, until the watch reaches the
// revision that match knew. No other user waits. Their messages stay open, as part of the
// partition's window, which bounds their number; at a stop they stay open for the next owner.
type late struct {
	revision uint64 // of PUSHERS, to wait for
	items    []*item
	since    time.Time
}

const (
	// askLateAfter is how long a user waits before PUSHERS is asked for the user's revision,
	// and the interval between the questions.
	askLateAfter = time.Second
	// askLateLimit bounds the users for whom it is asked at a time.
	askLateLimit = 256
)

// isLate reports whether a notification must wait for its user's pushers, and then keeps it.
// The caller holds the mutex.
func (d *Deliverer) isLate(to *events.LogUser, it *item) bool {
	w := d.late[to.UserID]
	if w == nil {
		if !d.holding && d.Directory.IsCurrent(to.UserID, to.PushersRevision) {
			return false
		}
		w = &late{since: time.Now()}
		d.late[events.UserID([]byte(to.UserID))] = w // a copy: the user is part of a message
	}
	w.revision = max(w.revision, to.PushersRevision)
	w.items = append(w.items, it)
	return true
}

// heldLimit bounds the notifications that are held back after a take-over.
const heldLimit = 512

// After a take-over, what the last owner may have sent and did not record is held back until
// all of that has been received: those pokes carried counts which included later ones, and a
// count must not go back in time (G3).

// holdNoMore ends that.
func (d *Deliverer) holdNoMore() {
	d.mu.Lock()
	if !d.holding {
		d.mu.Unlock()
		return
	}
	d.holding = false
	for user, w := range d.late {
		for _, it := range w.items {
			it.unread = max(it.unread, d.inboxes[user].badge(d.Badge))
		}
	}
	d.mu.Unlock()
	d.takeLate()
}

// holdsEnough reports whether as much is held back as may be.
func (d *Deliverer) holdsEnough() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	held := 0
	for _, w := range d.late {
		held += len(w.items)
	}
	return d.holding && held >= heldLimit
}

// noteReplayed ends what waits for all that the last owner may have handled, once that has
// been received.
func (d *Deliverer) noteReplayed() {
	if d.follower.CaughtUp() || d.holdsEnough() {
		d.holdNoMore()
	}
	select {
	case <-d.replayed:
	default:
		if d.isReplayed() {
			close(d.replayed)
		}
	}
}

func (d *Deliverer) isReplayed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.holding && d.follower.Replayed()
}

// takeLate gives the notifications to their users' lanes that are known by now.
func (d *Deliverer) takeLate() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.holding {
		return
	}
	for user, w := range d.late {
		if !d.Directory.IsCurrent(user, w.revision) {
			continue
		}
		delete(d.late, user)
		for _, it := range w.items {
			d.give(user, it)
		}
	}
}

// askLate asks PUSHERS for the revision of users who have waited for a while. The revision
// that match knew may never arrive: the bucket was created anew and counts from 1, or it has
// lost the user's value. Then the revision that it holds now is enough to wait for, since it
// is asked after match decided.
func (d *Deliverer) askLate(ctx context.Context, now time.Time) {
	if now.Before(d.askLateAt) {
		return
	}
	d.askLateAt = now.Add(askLateAfter)
	ctx, cancel := context.WithTimeout(ctx, askLateAfter)
	defer cancel()
	for _, user := range d.waitingLong(now) {
		revision, err := d.Conn.PushersRevision(ctx, user)
		if err != nil {
			d.waiting(err)
			return
		}
		d.mu.Lock()
		if w := d.late[user]; w != nil {
			w.revision = min(w.revision, revision)
		}
		d.mu.Unlock()
	}
}

// waitingLong returns some users who have waited for a while.
func (d *Deliverer) waitingLong(now time.Time) (users []events.UserID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for user, w := range d.late {
		if now.Sub(w.since) < askLateAfter || d.Directory.IsCurrent(user, w.revision) {
			continue
		}
		if users = append(users, user); len(users) == askLateLimit {
			break
		}
	}
	return users
}
