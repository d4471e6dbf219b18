package deliver

import (
	"time"

	"poked/dispatcher/poke"
)

// schedule submits the lane to its gateway, unless it is submitted already.
func (l *lane) schedule() {
	if l.scheduled || l.gone || l.d.closing || l.held() {
		return
	}
	l.scheduled = true
	l.submit(false, time.Now())
}

// submit queues the lane at its pusher's gateway, first or last. A live lane that would have
// to wait for the gateway lags.
func (l *lane) submit(first bool, since time.Time) {
	why := l.d.Gates.submit(l, l.pusher.Origin(), first, since)
	if why != poke.ClassOK && len(l.queue) > 0 {
		l.fallBehind(time.Now(), poke.Because(why))
		l.save()
	}
}

// turnLength is how many pokes a lane that catches up sends before it queues behind the
// other lagging lanes.
const turnLength = 32

// resubmit queues the lane again for its next poke. A lane that catches up is queued before
// the other lagging lanes until its turn is over; after a poke that
// need not be sent it goes on even at a gateway that is down.
func (l *lane) resubmit(out poke.Outcome) {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	if l.gone || l.d.closing {
		l.scheduled = false
		return
	}
	first, since := false, time.Now()
	if l.lag != nil {
		l.lag.turn++
		if first = l.lag.turn%turnLength != 0; !first {
			l.lag.dropReading() // the next turn may be far off
		}
	}
	if out.Kind == poke.Expired || out.Kind == poke.Withheld {
		first, since = true, time.Time{}
	}
	l.submit(first, since)
}

// wake submits a lagging lane whose next try is due.
func (l *lane) wake() {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	if l.lag != nil {
		l.schedule()
	}
}

// tryNow gives a lagging lane the next place at its gateway, as a probe if that is down: an
// operator asked for it. A pause that the gateway asked for (Retry-After) still applies.
func (l *lane) tryNow() {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	if l.lag != nil {
		l.lag.heldUntil = time.Time{}
		l.schedule()
		l.d.Gates.urge(l)
	}
}

// withdraw removes the lane from the queue in which it waits.
func (l *lane) withdraw() {
	if l.d.Gates.withdraw(l) {
		l.scheduled = false
	}
}
