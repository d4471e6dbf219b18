package deliver

import (
	"time"

	"poked/dispatcher/poke"
	"poked/events"
)

// delay holds back a notification that arrived while its user was reading elsewhere, since
// they may read this one too. A highlight or a call is not held back, nor is anything before it.
func (d *Deliverer) delay(r *recipient, n *events.Notification) {
	now := time.Now()
	if d.DelayIfActive == 0 {
		return
	}
	for _, l := range r.lanes {
		switch {
		case n.Highlight, n.Rings():
			l.holdNoMore()
		case now.Sub(r.activeAt) < d.DelayIfActive:
			l.holdUntil(now, now.Add(min(d.DelayIfActive, d.timeToLive(l.pusher, n)/2)))
		}
	}
}

// holdUntil delays what a live lane has to send: the lane lags on purpose, and what is read
// meanwhile is not sent.
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

// holdNoMore ends the delay of a lane.
func (l *lane) holdNoMore() {
	if l.lag == nil || l.lag.heldUntil.IsZero() {
		return
	}
	l.lag.heldUntil = time.Time{}
	l.schedule()
}
