package deliver

import (
	"time"

	"poked/dispatcher/poke"
)

// fallBehind turns a live lane into a lagging one, positioned before the first notification
// that it has not sent, and not before what it has: a badge may have waited while what came
// after its cause was sent. Its items are done once the record of that is stored.
func (l *lane) fallBehind(now time.Time, why poke.Failure) {
	first := l.queue[0]
	position := first.seq
	if !first.badge {
		position--
	}
	l.lag = &lag{
		position: position,
		target:   l.queue[len(l.queue)-1].seq,
		since:    now,
		nextTry:  now,
		failure:  why,
		unread:   max(first.unread, 1) - 1,
		counted:  !first.badge,
		waiting:  len(l.queue),
	}
	for _, it := range l.queue {
		if it.badge {
			l.lag.badge, l.lag.waiting = true, l.lag.waiting-1
			if l.clears(it.cleared) {
				l.lag.clearing = l.lag.clearing.and(it.cleared)
			}
			continue
		}
		l.lag.due++
		l.lag.addCall(it)
	}
	if l.selective || l.lag.position < l.d.follower.Cursor() { // the log also holds what the last owner has delivered
		l.lag.waiting = notCounted
	}
	l.record.held = append(l.record.held, l.queue...)
	l.queue = nil
	delete(l.d.busy, l)
	l.lagsAt(l.pusher.Origin())
}

// lagsAt counts the lane as lagging at a gateway.
func (l *lane) lagsAt(origin string) {
	l.d.Counts.Lagging.Add(1)
	l.lag.gate = l.d.Gates.lags(l, origin)
}

// lagsNoMore undoes lagsAt.
func (l *lane) lagsNoMore() {
	l.d.Counts.Lagging.Add(-1)
	l.d.Gates.lagsNoMore(l.lag.gate)
}

// failed schedules the next try. At a gateway that is down or paused the lane waits in the
// queue until that is over; otherwise, and if somebody has to mend something first, it has
// a next try of its own.
func (l *lane) failed(now time.Time, out poke.Outcome) {
	l.scheduled = false
	if l.lag == nil {
		l.fallBehind(now, out.Failure())
	}
	l.lag.dropReading()
	until, down := l.d.Gates.down(l.lag.gate, now)
	switch {
	case out.Kind == poke.Paused, out.Kind == poke.Retry && out.Class != poke.ClassNATS && down:
		l.lag.waitFor(out, until)
		l.schedule()
	default:
		l.lag.putOff(now, out)
		l.refusedAlone(now, out)
		l.d.Gates.sleep(l, l.lag.nextTry)
	}
	switch {
	case out.Class == poke.ClassNATS:
		l.skippedLocked(false)
	case l.lag.skip != nil:
		l.skipSoon()
	}
	l.save()
}

// catchUpDone makes a lane live again that has sent all that the log holds.
func (l *lane) catchUpDone() {
	l.lag.settle(&l.d.Counts.accounting, FateCleared, l.lag.due) // they are no longer in the log
	l.dropLag()
	l.save()
}

// dropLag makes the lane live.
func (l *lane) dropLag() {
	if l.lag == nil {
		return
	}
	l.skippedLocked(false)
	l.lagsNoMore()
	l.lag = nil
}
