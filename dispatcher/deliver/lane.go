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

// waiting returns how many notifications a lane is to tell.
func (l *lane) waiting() (n int) {
	for _, it := range l.queue {
		if !it.badge {
			n++
		}
	}
	if l.lag != nil {
		n += l.lag.due
	}
	return n
}

// settleAll takes out all that a lane is to tell.
func (l *lane) settleAll(out *atomic.Int64) { out.Add(int64(l.waiting())) }

// forget drops what is gone from a lane. What is out already comes home and is
// passed.
func (l *lane) forget(gone func(*events.Notification, uint64, events.RoomID) bool) {
	for i := len(l.queue) - 1; i >= 0; i-- {
		if it := l.queue[i]; !it.badge && gone(&it.n, it.seq, it.room) {
			l.d.Counts.accounting.cleared.Add(1)
			l.drop(i)
		}
	}
	g := l.lag
	if g == nil {
		return
	}
	// How many wait, and how much was unread then, is no longer known, and what is
	// being read for the lane may be of before.
	g.waiting, g.counted, g.cleared = notCounted, false, g.cleared+1
	kept := g.items[:0]
	for _, it := range g.items {
		if !gone(&it.n, it.seq, it.room) {
			kept = append(kept, it)
		}
	}
	clear(g.items[len(kept):])
	g.items = kept
}

// drop takes an item out of a live lane's queue.
func (l *lane) drop(i int) {
	l.d.release(l.queue[i])
	l.queue = append(l.queue[:i:i], l.queue[i+1:]...)
	if len(l.queue) == 0 {
		l.queue = nil
		delete(l.d.busy, l)
	}
}
