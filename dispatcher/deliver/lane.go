package deliver

import (
	"sync/atomic"
	"time"

	"poked/dispatcher/directory"
	"poked/dispatcher/poke"
	"poked/events"
)

// item is a notification that waits for its live pokes. The deliverer's mutex
// guards it.
type item struct {
	seq     uint64 // in NOTIFICATIONS
	n       events.Notification
	room    events.RoomID
	unread  uint64
	badge   bool     // it tells how much is unread, and of no notification
	also    []uint64 // done together with it
	waiting int      // lanes that have neither told it nor written it down
}

// lane is the way to one pusher. Either it is live: what is to be told stands
// in its queue, and one poke at a time is out. Or it lags: then the queue is
// empty, lag says where it stands in the log, and it is tried when its time
// comes. Either way it tells its user's notifications in order (G3).
//
// The deliverer's mutex guards every field but spot.
type lane struct {
	d      *Deliverer
	pusher *directory.Pusher // as it was set last
	queue  []*item           // live items in order; the first may be out
	lag    *lag              // nil while the lane is live

	// scheduled says that a slot works on the lane or will: it is submitted at
	// most once.
	scheduled bool
	// choosy says that not all of the user's notifications are for this pusher, so
	// that those for it cannot be told from others by their number.
	choosy bool
	// refused is the pusher whose pushkey the gateway refused: nothing is sent
	// until the registry has removed it or the client has set it again.
	refused   *directory.Pusher
	gone      bool
	delivered lastBadge
	// restoredTo is up to where the lane has caught up from the log, or will, if it was
	// found lagging: what a predecessor left open before that comes by live as well.
	restoredTo uint64

	record  backlogRecord
	node    node
	history history // for operators
}

// queueLimit is how much of a partition's window one lane may hold: a pusher whose
// gateway answers, but not as fast as notifications come, lags like one whose
// gateway does not, and holds up nobody.
const queueLimit = 32

// enqueue gives a lane a notification of its user's, if its pusher is to be told.
// If the lane lags there is nothing to keep: the notification stands in the log.
func (l *lane) enqueue(it *item) {
	switch {
	case l.refused == l.pusher, l.lag == nil && it.seq <= l.restoredTo:
		return
	case !l.pusher.Wants(&it.n):
		l.choosy = true
		if l.lag != nil {
			l.lag.waiting = notCounted
		}
		return
	case l.lag != nil:
		if l.lag.grow(it.seq) {
			l.lag.expect(&l.d.Counts.accounting)
		}
		l.record.cover(it)
		return
	}
	l.d.Counts.accounting.due.Add(1)
	l.push(it)
	if len(l.queue) > queueLimit {
		l.fallBehind(time.Now(), poke.Because(poke.ClassBehind))
		l.save()
	}
}

// push adds an item to a live lane's queue.
func (l *lane) push(it *item) {
	l.queue = append(l.queue, it)
	it.waiting++
	l.d.busy[l] = struct{}{}
	l.schedule()
}

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

// refuse ends the lane until the pusher is set again: its gateway will not take
// the pushkey, and the registry is about to remove it.
func (l *lane) refuse(p *directory.Pusher) {
	l.scheduled = false
	l.refused = p
	l.empty()
}

// remove ends the lane: its pusher is gone.
func (l *lane) remove() {
	l.gone = true
	l.withdraw()
	l.empty()
	if l.record.stands() {
		l.d.ending[l.pusher.ID] = l
	}
}

// empty gives up everything that was still to be told.
func (l *lane) empty() {
	l.settleAll(&l.d.Counts.accounting.dropped)
	for _, it := range l.queue {
		l.d.release(it)
	}
	l.queue = nil
	delete(l.d.busy, l)
	l.dropLag()
	l.save()
}

// set takes in that the pusher was set again. A lane that lags is tried at
// once, for the cause may be mended.
func (l *lane) set(p *directory.Pusher) {
	if p.Same(l.pusher) {
		return
	}
	if p.Origin() != l.pusher.Origin() {
		l.withdraw()
	}
	l.pusher = p
	if l.lag != nil {
		l.lagsNoMore()
		l.lagsAt(p.Origin())
	}
	if l.lag != nil || len(l.queue) > 0 {
		l.schedule()
	}
}

// withdraw has the lane wait for nothing.
func (l *lane) withdraw() {
	if l.d.Gates.withdraw(l) {
		l.scheduled = false
	}
}
