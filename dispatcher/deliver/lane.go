package deliver

import (
	"time"

	"poked/dispatcher/directory"
	"poked/dispatcher/poke"
	"poked/events"
)

// item is a notification, or a badge, in the queues of live lanes. The deliverer's mutex
// guards it.
type item struct {
	seq     uint64 // in NOTIFICATIONS; of a badge, where all is that its user's lanes were given before it
	n       *events.Notification
	room    events.RoomID
	unread  uint64
	badge   bool      // it carries the unread count and no notification
	cleared *cleared  // of a badge: where something was read; nil of others
	index   int       // of the user in the message
	of      []*opened // the messages that are open until it is sent or recorded
	waiting int       // lanes that have neither sent nor recorded it

	one [1]*opened // holds of: nearly always it is one message
}

// lane delivers to one pusher, in the order of the log, with at most one poke in flight
// (G3). A live lane sends what is in its queue. A lagging lane has an empty queue, reads the
// log from its position, and is tried again when its gateway allows.
//
// The deliverer's mutex guards every field but node, which that of the gateways guards.
type lane struct {
	d      *Deliverer
	pusher *directory.Pusher // as last set
	queue  []*item           // live items in order; the first may be in flight
	lag    *lag              // nil while the lane is live

	// scheduled reports that the lane is submitted to its gateway, once, or in flight.
	scheduled bool
	// selective reports that some of the user's notifications are not for this pusher, so
	// that those for it cannot be counted by sequence.
	selective bool
	// refused is the pusher whose pushkey the gateway rejected: nothing is sent until the
	// registry has removed it or the client has set it again.
	refused   *directory.Pusher
	inFlight  bool // a poke of the lane is
	gone      bool
	handed    events.PusherID // the heir, once it has taken over the lane's place, or found that nothing waited
	heir      *lane           // that is about to take over the lane's place
	from      *lane           // whose place the lane is about to take over
	setAside  bool            // the last poke was put aside by itself, and none was delivered since
	refusal   poke.Failure    // that the lane looked past last, with success
	delivered lastBadge
	// restoredTo is the sequence up to which a lane that lagged under the last owner
	// catches up from the log. What that owner left open before it arrives live as well.
	restoredTo uint64

	record  backlogRecord
	node    node
	history history // for operators
}

// queueLimit bounds a lane's queue, and so its part of the partition's window. A pusher whose
// gateway answers more slowly than notifications arrive lags, like one whose gateway does
// not answer, and delays no other pusher.
const queueLimit = 32

// enqueue gives the lane a notification of its user, if it is for its pusher. A lagging lane
// keeps nothing of it: it is in the log.
func (l *lane) enqueue(it *item) {
	switch {
	case l.refused == l.pusher, l.lag == nil && it.seq <= l.restoredTo:
		return
	case !l.pusher.Wants(it.n):
		l.selective = true
		if l.lag != nil {
			l.lag.waiting = notCounted
		}
		return
	case l.lag != nil:
		if l.lag.grow(it.seq) {
			l.lag.expect(&l.d.Counts.accounting)
			if l.lag.wakes {
				l.lag.wakes = false
				l.schedule()
			}
			l.rings(it)
		}
		l.record.cover(it)
		return
	}
	l.d.Counts.accounting.due.Add(1)
	l.push(it)
	if len(l.queue) > queueLimit || it.n.Rings() && l.waitsBefore() {
		l.fallBehind(time.Now(), poke.Because(poke.ClassBehind))
		l.save()
		l.ringSoon()
	}
}

// push adds an item to the queue of a live lane.
func (l *lane) push(it *item) {
	l.queue = append(l.queue, it)
	it.waiting++
	l.d.busy[l] = struct{}{}
	l.schedule()
}

// refuse stops the lane until the pusher is set again: its gateway rejected the pushkey, and
// the registry is about to remove it.
func (l *lane) refuse(p *directory.Pusher) {
	l.scheduled = false
	l.refused = p
	if l.heir == nil { // else what waits is the heir's
		l.empty()
	}
}

// remove ends the lane: its pusher was removed.
func (l *lane) remove() {
	l.gone = true
	l.withdraw()
	l.giveBack()
	if l.heir == nil { // else what waits is the heir's
		l.empty()
	}
	if l.record.stands() {
		l.d.ending[l.pusher.ID] = l
	}
}

// empty drops everything that has not been sent.
func (l *lane) empty() {
	l.settleAll(FateDropped)
	for _, it := range l.queue {
		l.d.release(it)
	}
	l.queue = nil
	delete(l.d.busy, l)
	l.dropLag()
	l.save()
}

// set gives the lane a new version of its pusher. A lagging lane is tried at once: the cause
// may be mended.
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

// waiting returns how many notifications the lane has yet to send.
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

// needs returns the sequence up to which the lane needs no notification one by one any more,
// or none at all if it is far behind for a reason of its own.
func (l *lane) needs() uint64 {
	if l.lag == nil || l.lag.mayPassOver(time.Now()) {
		return ^uint64(0) - 1
	}
	return l.lag.position
}

// settleAll counts the fate of all that the lane had yet to send.
func (l *lane) settleAll(fate Fate) { l.d.Counts.accounting.settle(fate, l.waiting()) }

// forget removes from the lane what left the log. What is in flight already is settled when
// its outcome arrives.
func (l *lane) forget(gone func(*events.Notification, uint64, events.RoomID) bool) {
	for i := len(l.queue) - 1; i >= 0; i-- {
		if it := l.queue[i]; !it.badge && gone(it.n, it.seq, it.room) {
			l.d.Counts.accounting.settle(FateCleared, 1)
			l.drop(i)
		}
	}
	g := l.lag
	if g == nil {
		return
	}
	// How many wait, and what was unread at the position, is no longer known, and what is
	// being read for the lane may be outdated.
	g.waiting, g.counted, g.cleared = notCounted, false, g.cleared+1
	kept := g.items[:0]
	for _, it := range g.items {
		if !gone(&it.n, it.seq, it.room) {
			kept = append(kept, it)
		}
	}
	clear(g.items[len(kept):])
	g.items = kept
	g.calls.forget(gone)
}

// drop removes an item from the queue of a live lane.
func (l *lane) drop(i int) {
	l.d.release(l.queue[i])
	l.queue = append(l.queue[:i:i], l.queue[i+1:]...)
	if len(l.queue) == 0 {
		l.queue = nil
		delete(l.d.busy, l)
	}
}
