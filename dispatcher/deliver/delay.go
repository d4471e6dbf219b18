package deliver

import (
	"time"

	"poked/dispatcher/poke"
	"poked/events"
)

// seen takes in that a user has just read something.
func (d *Deliverer) seen(user events.UserID, at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if r := d.people[user]; r != nil {
		r.activeAt = at
	}
}

// delay has a user's lanes wait with a notification that came while the user was
// reading elsewhere, for they may read this too. Nothing waits behind a highlight.
func (d *Deliverer) delay(r *recipient, n *events.Notification, now time.Time) {
	if d.DelayIfActive == 0 {
		return
	}
	for _, l := range r.lanes {
		switch {
		case n.Highlight:
			l.holdNoMore()
		case now.Sub(r.activeAt) < d.DelayIfActive:
			l.holdUntil(now, now.Add(d.DelayIfActive))
		}
	}
}

// holdUntil has a live lane tell later what it has to tell: it lags on purpose, and
// what is read meanwhile leaves the log.
func (l *lane) holdUntil(now, until time.Time) {
	if len(l.queue) == 0 {
		return // it lags already, or the notification is not for its pusher
	}
	l.fallBehind(now, poke.Because(poke.ClassActive))
	l.lag.heldUntil, l.lag.nextTry = until, until
	if l.withdraw(); !l.scheduled {
		l.d.Gates.sleep(l, until)
	}
	l.save()
}

// holdNoMore has a lane that was to wait go on.
func (l *lane) holdNoMore() {
	if l.lag == nil || l.lag.heldUntil.IsZero() {
		return
	}
	l.lag.heldUntil = time.Time{}
	l.schedule()
}
