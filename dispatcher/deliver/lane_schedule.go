package deliver

import (
	"time"

	"poked/dispatcher/poke"
)

func (l *lane) schedule() {
	if l.scheduled || l.gone || l.d.closing {
		return
	}
	l.scheduled = true
	l.submit(false, time.Now())
}

// submit has the lane wait for a slot at its pusher's gateway, first among those
// who lag there or last. A live lane that would wait in vain lags.
func (l *lane) submit(first bool, since time.Time) {
	why := l.d.Gates.submit(l, l.pusher.Origin(), first, since)
	if why != poke.ClassOK && len(l.queue) > 0 {
		l.fallBehind(time.Now(), poke.Because(why))
		l.save()
	}
}

// turnLength is how many pokes a lane that catches up makes until another one
// that lags has its turn.
const turnLength = 32

// resubmit lets others have their turn before the lane's next poke. Among those
// who lag, one that catches up goes on first; after an expiry it may do so even
// at a gateway that is down.
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
			l.lag.dropPage() // the next turn may be far off
		}
	}
	if out.Kind == poke.Expired {
		first, since = true, time.Time{}
	}
	l.submit(first, since)
}

// wake has a lagging lane tried now.
func (l *lane) wake() {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	if l.lag != nil {
		l.schedule()
	}
}

// tryNow has a lagging lane tried as soon as its gateway has a place, before
// others, and as a probe if that is down: the operator knows something that we do
// not. What the gateway asked for with Retry-After holds.
func (l *lane) tryNow() {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	if l.lag != nil {
		l.lag.heldUntil = time.Time{}
		l.schedule()
		l.d.Gates.urge(l)
	}
}

// withdraw has the lane wait for nothing.
func (l *lane) withdraw() {
	if l.d.Gates.withdraw(l) {
		l.scheduled = false
	}
}
