package deliver

import (
	"context"
	"slices"
	"time"

	"poked/events"
	"poked/events/wait"
)

// badgeDelay is how long a changed count waits for others to change it further, or
// for a poke that carries it anyway: who comes back to their desk reads many rooms
// within moments.
const badgeDelay = 500 * time.Millisecond

// pendingBadge is what a user's pushers are still to be told: how much is unread, since
// that has changed.
type pendingBadge struct {
	reasons []uint64 // sequences in NOTIFICATIONS that are open because of it
	due     time.Time
}

// owe has a user's pushers told soon how much is unread. The message that changed
// it stays open until they are, or until that is written down. The caller holds the
// mutex, since what it told lanes to forget: no poke goes between with the old count.
func (d *Deliverer) owe(user events.UserID, reason uint64) {
	if d.Badge == BadgeNone || !d.Directory.Has(user) {
		d.follower.Done(reason)
		return
	}
	d.recipient(user).unread.left()
	owed := d.due[user]
	if owed == nil {
		owed = &pendingBadge{due: time.Now().Add(badgeDelay)}
		d.due[user] = owed
	}
	owed.reasons = append(owed.reasons, reason)
}

// sendBadges has lanes tell the counts that have waited long enough.
func (d *Deliverer) sendBadges(ctx context.Context, now time.Time) {
	for _, user := range d.dueBadges(now) {
		if wait.Until(ctx, wait.RetryPause, d.waiting, func() error { return d.learnUnread(ctx, user) }) != nil {
			return // the messages stay open
		}
		d.sendBadge(user)
	}
}

func (d *Deliverer) dueBadges(now time.Time) (due []events.UserID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for user, owed := range d.due {
		if !owed.due.After(now) {
			due = append(due, user)
		}
	}
	return due
}

// sendLastBadges leaves a successor none of the counts that pushers know already: only
// this worker knows what it told last.
func (d *Deliverer) sendLastBadges() {
	ctx, cancel := context.WithTimeout(context.Background(), wait.RetryPause)
	defer cancel()
	d.sendBadges(ctx, time.Now().Add(badgeDelay))
}

func (d *Deliverer) sendBadge(user events.UserID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	owed := d.due[user]
	if owed == nil || d.closing {
		return // who is closing leaves it to the successor
	}
	delete(d.due, user)
	last := len(owed.reasons) - 1
	it := &item{seq: owed.reasons[last], also: owed.reasons[:last], badge: true, waiting: 1}
	for _, l := range d.recipient(user).lanes {
		l.oweBadge(it)
	}
	d.release(it)
}

// hasTold says whether all of a user's pushers that show a badge have been told one
// since the work on the partition began.
func (d *Deliverer) hasTold(user events.UserID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.people[user]
	return r != nil && !slices.ContainsFunc(r.lanes, func(l *lane) bool { return l.showsBadge() && !l.delivered.known })
}

// badgeOnly is what is said of no event, as a notification is stored.
const badgeOnly = `{"prio":"low"}`
