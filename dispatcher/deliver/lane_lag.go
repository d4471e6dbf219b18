package deliver

import (
	"time"

	"poked/dispatcher/poke"
)

// fallBehind turns a live lane into a lagging one that stands before the first
// notification it has not told. Its items are done once that is stored.
func (l *lane) fallBehind(now time.Time, why poke.Failure) {
	first := l.queue[0]
	l.lag = &lag{
		position: first.seq - 1,
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
		} else {
			l.lag.due++
		}
	}
	if l.choosy || l.lag.position < l.d.follower.Cursor() { // what a predecessor had done with is in the log too
		l.lag.waiting = notCounted
	}
	l.record.held = append(l.record.held, l.queue...)
	l.queue = nil
	delete(l.d.busy, l)
	l.lagsAt(l.pusher.Origin())
}

// lagsAt notes at a gateway that the lane lags there.
func (l *lane) lagsAt(origin string) {
	l.d.Counts.lagging.Add(1)
	l.lag.gate = l.d.Gates.lags(l, origin)
}

func (l *lane) lagsNoMore() {
	l.d.Counts.lagging.Add(-1)
	l.d.Gates.lagsNoMore(l.lag.gate)
}

// failed puts the lane off. At a gateway that is down or paused it stands in
// line until that is over; otherwise, and if somebody has to mend something
// first, it has its own next try.
func (l *lane) failed(now time.Time, out poke.Outcome) {
	l.scheduled = false
	if l.lag == nil {
		l.fallBehind(now, out.Failure())
	}
	l.lag.dropPage()
	until, down := l.d.Gates.down(l.lag.gate, now)
	switch {
	case out.Kind == poke.Paused, out.Kind == poke.Retry && out.Class != poke.ClassNATS && down:
		l.lag.stand(out, until)
		l.schedule()
	default:
		l.lag.putOff(now, out)
		l.d.Gates.sleep(l, l.lag.nextTry)
	}
	l.save()
}

// catchUpDone makes a lane live again that has told all there is in the log.
func (l *lane) catchUpDone() {
	l.lag.takeOut(l.lag.due, &l.d.Counts.accounting.cleared) // it was in the log no more
	l.dropLag()
	l.save()
}

func (l *lane) dropLag() {
	if l.lag == nil {
		return
	}
	l.lagsNoMore()
	l.lag = nil
}
