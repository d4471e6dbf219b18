package deliver

import (
	"sync/atomic"
	"time"

	"poked/dispatcher/poke"
)

// tell takes in what the pusher has been told.
func (l *lane) tell(p *outgoing) {
	if p.pusher == l.pusher {
		l.delivered.set(p.unread)
	}
	if g := l.lag; p.badge && g != nil && l.knowsBadge() {
		g.badge = false
	}
}

// settle draws the consequences of a try.
func (l *lane) settle(p *outgoing, out poke.Outcome, now time.Time) (again bool) {
	d := l.d
	out = d.conclude(l, p, out, now)
	d.Counts.outcome(out, p.badge, p.age(now))
	d.mu.Lock()
	defer d.mu.Unlock()
	l.history.note(out, now)
	if out.Kind == poke.Delivered {
		l.tell(p)
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
			return true // set again meanwhile, so this one is yet to be tried
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

// passed moves the lane beyond a notification that its pusher was told, or need
// not be told any more. It returns whether there is more to tell.
func (l *lane) passed(seq uint64, told, badge bool) (more bool) {
	out := l.book(told)
	if l.lag != nil {
		if !badge {
			l.lag.settle(&l.d.Counts.accounting, out)
		}
		if l.lag.pass(seq, told); l.lag.caughtUp() {
			l.scheduled = false
			l.catchUpDone()
			return false
		}
		l.save()
		return true
	}
	if len(l.queue) > 0 && l.queue[0].seq == seq {
		if !badge {
			out.Add(1)
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

// book returns where it is counted that a notification was told, or grew too old.
func (l *lane) book(told bool) *atomic.Int64 {
	if told {
		return &l.d.Counts.accounting.delivered
	}
	return &l.d.Counts.accounting.expired
}
