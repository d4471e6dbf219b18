package deliver

import (
	"time"

	"poked/dispatcher/poke"
)

// noteDelivered records what the pusher has received.
func (l *lane) noteDelivered(p *outgoing) {
	if p.pusher == l.pusher {
		l.delivered.set(p.unread)
	}
	if g := l.lag; p.badge && g != nil && l.knowsBadge() {
		g.badge = false
	}
}

// settle applies the outcome of a try, and reports whether the lane has more to send.
func (l *lane) settle(p *outgoing, out poke.Outcome, now time.Time) (again bool) {
	d := l.d
	out = d.conclude(l, p, out, now)
	d.Counts.outcome(out, p.badge, p.age(now))
	d.mu.Lock()
	defer d.mu.Unlock()
	l.history.note(out, now)
	if out.Kind == poke.Delivered {
		l.noteDelivered(p)
	}
	switch {
	case l.gone:
		l.scheduled = false
		return false
	case l.lag == nil && (len(l.queue) == 0 || l.queue[0].seq != p.seq): // read, or removed and set again, meanwhile
		l.scheduled = len(l.queue) > 0
		return l.scheduled
	}
	switch out.Kind {
	case poke.Delivered, poke.Expired:
		return l.passed(p.seq, out.Kind == poke.Delivered, p.badge)
	case poke.Rejected:
		if l.pusher != p.pusher {
			return true // set again meanwhile: the new one has not been tried
		}
		l.refuse(p.pusher)
	default:
		l.failed(now, out)
		if l.pusher != p.pusher {
			l.schedule() // set again meanwhile: the cause may be mended
		}
	}
	return false
}

// passed moves the lane beyond a notification that was delivered or expired, and reports
// whether it has more to send.
func (l *lane) passed(seq uint64, delivered, badge bool) (more bool) {
	accounting, fate := &l.d.Counts.accounting, FateExpired
	if delivered {
		fate = FateDelivered
	}
	if l.lag != nil {
		if !badge {
			l.lag.settle(accounting, fate, 1)
		}
		if l.lag.pass(seq, delivered); l.lag.caughtUp() {
			l.scheduled = false
			l.catchUpDone()
			return false
		}
		l.save()
		return true
	}
	if len(l.queue) > 0 && l.queue[0].seq == seq {
		if !badge {
			accounting.settle(fate, 1)
		}
		l.d.release(l.queue[0])
		l.queue[0] = nil
		l.queue = l.queue[1:]
	}
	l.skipBadges()
	if len(l.queue) > 0 {
		return true
	}
	l.queue = nil
	delete(l.d.busy, l)
	l.scheduled = false
	return false
}
