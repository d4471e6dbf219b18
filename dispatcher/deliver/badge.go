package deliver

import (
	"context"
	"time"

	"poked/events"
	"poked/events/wait"
)

// badgeDelay is how long a changed unread count waits for further changes, or for a poke
// that carries it anyway: users often read many rooms within moments.
const badgeDelay = 500 * time.Millisecond

// pendingBadge is a change of a user's unread count that has not been sent.
type pendingBadge struct {
	reasons []*opened // messages that stay open until it is sent
	due     time.Time
	cleared *cleared
}

// badgeChanged schedules a badge-only poke to each of a user's pushers. It names the room in which
// something was read, if any, to those that want to know; asked reports that a client asks for
// that (MSC4234). The message that changed the count stays open until the pokes are sent or
// recorded. The caller holds the mutex since it changed the lanes: no poke goes out in between
// with the old count.
func (d *Deliverer) badgeChanged(user events.UserID, reason *opened, room events.RoomID, asked bool) {
	if !d.Directory.Has(user) || d.Badge == BadgeNone && !d.anyClears(user, asked) {
		return
	}
	reason.waiting++
	pending := d.badges[user]
	if pending == nil {
		pending = &pendingBadge{due: time.Now().Add(badgeDelay)}
		d.badges[events.UserID([]byte(user))] = pending // a copy: user is part of a message
	}
	pending.reasons = append(pending.reasons, reason)
	if room != "" {
		if pending.cleared == nil {
			pending.cleared = &cleared{}
		}
		pending.cleared.add(room, asked)
	}
}

// sendBadges gives lanes the badges that have waited long enough.
func (d *Deliverer) sendBadges(ctx context.Context, now time.Time) {
	if !d.isReplayed() {
		return // what was left open may have to be sent before them
	}
	for _, user := range d.dueBadges(now) {
		if d.mustLoad(ctx, user) != nil {
			return // the messages stay open
		}
		d.sendBadge(user)
	}
}

func (d *Deliverer) dueBadges(now time.Time) (due []events.UserID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for user, pending := range d.badges {
		if !pending.due.After(now) && d.late[user] == nil { // else those that wait carry an older count
			due = append(due, user)
		}
	}
	return due
}

// sendLastBadges sends all pending badges at once, at the end of the work: only this worker
// knows which counts the pushers have already received.
func (d *Deliverer) sendLastBadges() {
	ctx, cancel := context.WithTimeout(context.Background(), wait.RetryPause)
	defer cancel()
	d.sendBadges(ctx, time.Now().Add(badgeDelay))
}

func (d *Deliverer) sendBadge(user events.UserID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	pending := d.badges[user]
	if pending == nil || d.closing {
		return // while closing it is left to the next owner
	}
	delete(d.badges, user)
	it := &item{seq: max(d.applied, d.follower.Cursor()), of: pending.reasons, badge: true, cleared: pending.cleared, waiting: 1}
	for _, l := range d.recipient(user).lanes {
		l.enqueueBadge(it)
	}
	d.release(it)
}
