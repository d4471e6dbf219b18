package deliver

import (
	"slices"
	"time"

	"poked/dispatcher/poke"
	"poked/events"
)

// A call rings for a minute or two, so its poke goes before all others of its pusher, and is not
// sent once the call is over. A live lane with nothing else to send sends it as any other. One
// with more than that falls behind, since a position in the log cannot tell that something
// after it was sent and something before it was not; its record in BACKLOG lists the calls that
// were (events.Backlog.Rang), so they are not sent again (G2). All else keeps its order (G3). A
// call that is sent ahead carries no unread count, which would go back with the next poke; the
// count follows at the end, if need be.
//
//	queue:  a in flight, b, call ──▶ lags at a: call, b ──▶ badge
//	lag:    position ... a, b, call ──▶ call, a, b, and the call is passed over
//
// A call that waits at a take-over has lost its turn: the successor sends it in its order, if it
// still rings. So has one that its gateway refuses.

// callsKept bounds the calls of a lagging lane that go before all else.
const callsKept = 4

// calls are the calls among what a lagging lane has to send, or has sent already. A nil one has
// none.
type calls struct {
	waiting   []logItem // oldest first
	delivered []uint64  // by sequence, in the order of the log
}

// deliveredCalls returns calls of which the last owner has recorded that they were delivered.
func deliveredCalls(seqs []uint64) *calls {
	if len(seqs) == 0 {
		return nil
	}
	slices.Sort(seqs)
	return &calls{delivered: seqs}
}

// wasDelivered reports whether a notification is a call that was sent before what waits.
func (c *calls) wasDelivered(seq uint64) bool {
	return c != nil && slices.Contains(c.delivered, seq)
}

// deliveredAfter returns the calls after a position that were delivered.
func (c *calls) deliveredAfter(position uint64) []uint64 {
	if c == nil {
		return nil
	}
	first, _ := slices.BinarySearch(c.delivered, position+1)
	c.delivered = slices.Delete(c.delivered, 0, first)
	return slices.Clone(c.delivered)
}

// drop forgets a call that waits.
func (c *calls) drop(seq uint64) {
	if c != nil {
		c.waiting = slices.DeleteFunc(c.waiting, func(it logItem) bool { return it.seq == seq })
	}
}

// forget removes what was read or redacted.
func (c *calls) forget(gone func(*events.Notification, uint64, events.RoomID) bool) {
	if c != nil {
		c.waiting = slices.DeleteFunc(c.waiting, func(it logItem) bool { return gone(&it.n, it.seq, it.room) })
	}
}

// addCall adds a notification to those that go first, if it is one. Of very many the newest do.
func (g *lag) addCall(it *item) bool {
	if !it.n.Rings() {
		return false
	}
	if g.calls == nil {
		g.calls = &calls{}
	}
	c := g.calls
	c.waiting = append(c.waiting, logItem{seq: it.seq, room: it.room, n: *it.n})
	c.waiting = slices.Delete(c.waiting, 0, max(len(c.waiting)-callsKept, 0))
	return true
}

// rings gives a lagging lane a new notification that goes first if it is a call.
func (l *lane) rings(it *item) {
	if l.lag.addCall(it) {
		l.ringSoon()
	}
}

// waitsBefore reports whether a notification waits that would be sent before the last one.
func (l *lane) waitsBefore() bool {
	before := l.queue[:len(l.queue)-1]
	if l.inFlight && len(before) > 0 {
		before = before[1:]
	}
	return slices.ContainsFunc(before, func(it *item) bool { return !it.badge })
}

// ringSoon gives a lagging lane that has a call to send the next turn among those that lag like
// it, unless it has one. It does not wait for the next try of what failed before the call.
func (l *lane) ringSoon() {
	if c := l.lag.calls; c == nil || len(c.waiting) == 0 {
		return
	}
	if l.withdraw(); !l.scheduled && !l.gone && !l.d.closing && !l.held() {
		l.scheduled = true
		l.submit(true, time.Now())
	}
}

// call returns the poke of a call that goes before what else the lane has to send.
func (l *lane) call(now time.Time) (outgoing, bool) {
	g := l.lag
	if g.calls == nil || g.skip != nil || g.due == 1 { // if it is all that is due it has its order
		return outgoing{}, false
	}
	c := g.calls
	c.waiting = slices.DeleteFunc(c.waiting, func(it logItem) bool {
		return it.seq <= g.position || it.n.IsOver(now) || !l.pusher.Wants(&it.n)
	})
	if len(c.waiting) == 0 {
		return outgoing{}, false
	}
	it := c.waiting[0]
	return outgoing{
		pusher: l.pusher, seq: it.seq, n: it.n, room: it.room, attempt: g.attempts + 1, ahead: true, uncounted: true,
	}, true
}

// called moves on after a call that was sent before what waits, and returns that there is more.
// The position stays; what is over by now is met in its order, and withheld.
func (l *lane) called(p *outgoing, fate Fate) (more bool) {
	g := l.lag
	if g.calls.drop(p.seq); fate == FateWithheld {
		return true
	}
	if g.calls == nil {
		g.calls = &calls{}
	}
	if p.seq > g.position {
		g.calls.delivered = append(g.calls.delivered, p.seq)
		slices.Sort(g.calls.delivered)
	}
	g.settle(&l.d.Counts.accounting, fate, 1)
	g.attempts, g.alone, g.failure = 0, 0, poke.Failure{}
	l.setAside, g.badge = false, g.badge || l.showsBadge()
	l.save()
	return true
}
