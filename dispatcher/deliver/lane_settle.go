package deliver

import (
	"time"

	"poked/dispatcher/poke"
)

// noteDelivered records what the pusher has received.
func (l *lane) noteDelivered(p *outgoing) {
	if p.pusher == l.pusher && !p.uncounted {
		l.delivered.set(p.unread)
	}
	if g := l.lag; p.badge && g != nil {
		if g.clearing == p.cleared { // else more was read meanwhile
			g.clearing = nil
		}
		g.badge = g.clearing != nil || !l.knowsBadge()
	}
}

// begins reports whether a poke is of the first item in the queue.
func (l *lane) begins(p *outgoing) bool {
	return len(l.queue) > 0 && l.queue[0].seq == p.seq && l.queue[0].badge == p.badge
}

// settle applies the outcome of a try, and reports whether the lane has more to send.
func (l *lane) settle(p *outgoing, out poke.Outcome, now time.Time) (again bool) {
	d := l.d
	out = d.conclude(l, p, l.verdict(p, out), now)
	d.Counts.outcome(out, p.badge, p.age(now))
	d.mu.Lock()
	defer d.mu.Unlock()
	l.inFlight = false
	l.history.note(out, now)
	if out.Kind == poke.Delivered {
		l.noteDelivered(p)
	}
	again = l.settled(p, out, now)
	if l.heir != nil { // it was the last poke of this lane
		l.scheduled, again = false, false
		l.heir.takePlace()
	}
	return again
}

// settled is settle for a caller that holds the mutex.
func (l *lane) settled(p *outgoing, out poke.Outcome, now time.Time) (again bool) {
	switch {
	case l.gone:
		l.scheduled = false
		return false
	case l.lag == nil && !l.begins(p): // read, or removed and set again, meanwhile
		l.scheduled = len(l.queue) > 0
		return l.scheduled
	}
	switch out.Kind {
	case poke.Delivered, poke.Expired, poke.Refused, poke.Skipped, poke.Withheld:
		return l.passed(p, fateOf(out.Kind))
	case poke.Rejected, poke.Retired:
		if l.pusher != p.pusher {
			return true // set again meanwhile: the new one has not been tried
		}
		l.refuse(p.pusher)
	default:
		if p.ahead && out.Refuses() {
			l.lag.calls.drop(p.seq) // it is tried again in its turn, as any other
			return true
		}
		l.failed(now, out)
		if l.pusher != p.pusher {
			l.schedule() // set again meanwhile: the cause may be mended
		}
	}
	return false
}

// fateOf returns the fate of a notification whose poke is done.
func fateOf(kind poke.Kind) Fate {
	switch kind {
	case poke.Expired:
		return FateExpired
	case poke.Refused:
		return FateRefused
	case poke.Skipped:
		return FateSkipped
	case poke.Withheld:
		return FateWithheld
	default:
		return FateDelivered
	}
}

// passed moves the lane beyond a poke that is done, and reports whether it has more to send.
func (l *lane) passed(p *outgoing, fate Fate) (more bool) {
	if l.lag != nil {
		return l.passedLagging(p, fate)
	}
	if l.begins(p) {
		if !p.badge {
			l.d.Counts.accounting.settle(fate, 1)
		}
		first := l.queue[0]
		l.queue[0] = nil
		if l.queue = l.queue[1:]; fate == FateWithheld && len(l.queue) == 0 && l.showsBadge() {
			l.push(first.justBadge())
		}
		l.d.release(first)
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

// justBadge returns the badge that is sent in place of a notification. The messages of the
// notification stay open until it is.
func (it *item) justBadge() *item {
	for _, m := range it.of {
		m.waiting++
	}
	return &item{seq: it.seq, of: it.of, badge: true}
}

// passedLagging is passed for a lagging lane. After a poke that was put aside by itself, or by
// an operator, or was withheld, the count is sent, which the poke would have carried.
func (l *lane) passedLagging(p *outgoing, fate Fate) (more bool) {
	if p.ahead {
		return l.called(p, fate)
	}
	g, a := l.lag, &l.d.Counts.accounting
	if len(p.past) > 0 {
		l.refusal = p.past[0].failure
		g.settle(a, FateRefused, len(p.past))
	}
	if !p.badge {
		g.settle(a, fate, 1)
	}
	switch {
	case fate == FateDelivered:
		l.setAside = false
	case p.badge:
		g.badge, g.clearing = false, nil
	case fate == FateRefused, fate == FateSkipped, fate == FateWithheld:
		l.setAside = l.setAside || fate == FateRefused
		g.badge = g.badge || l.showsBadge()
	}
	l.skippedLocked(fate == FateSkipped)
	if g.pass(p.seq, fate == FateDelivered); g.caughtUp() {
		l.scheduled = false
		l.catchUpDone()
		return false
	}
	l.save()
	return true
}
