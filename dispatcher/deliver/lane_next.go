package deliver

import (
	"time"

	"poked/dispatcher/directory"
	"poked/dispatcher/poke"
	"poked/events"
)

// outgoing is a poke that is about to be sent, or in flight.
type outgoing struct {
	pusher  *directory.Pusher
	seq     uint64
	n       events.Notification
	room    events.RoomID
	unread  uint64
	live    bool // the lane does not lag
	badge   bool // it carries the unread count and no notification
	attempt int  // 1 for the first
	known   bool // the lane has failed by itself before: while the gateway was not down

	uncounted bool     // it carries no unread count
	limit     int      // bytes that its request may have
	size      int      // bytes that it had last
	tooLarge  int      // bytes that the gateway has refused with 413, or 0
	cleared   *cleared // of a badge: what it tells of
	ahead     bool     // it is about a call, and goes before what waits

	skip    bool         // an operator puts it aside
	past    []outgoing   // refused moments before, and before it in the log
	failure poke.Failure // of one that the lane looks past
	took    time.Time    // of a refused one: when the gateway took a poke of the same app last, if that is known
}

// turn is what a lane does with its place at its gateway.
type turn uint8

const (
	turnOver turn = iota // it gives the place back: there is nothing to send
	turnPoke             // it sends a poke
	turnRead             // it keeps the place while the log is read for it
)

// next returns the lane's next poke, which then counts as in flight. If there is none it
// gives the place back, or keeps it until the log is read.
func (l *lane) next() (outgoing, bool) {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	p, what := l.pick()
	switch what {
	case turnPoke:
		l.d.out++
		l.inFlight = true
		p.known = l.lag != nil && l.lag.alone > 0
		return p, true
	case turnRead:
		l.d.catchUpReader.want(l, l.d.Gates.hold(l))
	case turnOver:
		l.d.Gates.release(l)
	}
	return outgoing{}, false
}

// pick chooses what the lane does with its place.
func (l *lane) pick() (outgoing, turn) {
	if l.lag == nil {
		return l.pickLive()
	}
	switch g := l.lag; {
	case l.gone || l.d.closing:
		l.scheduled = false
		return outgoing{}, turnOver
	case g.unreadable:
		g.unreadable = false
		l.failed(time.Now(), poke.Outcome{Kind: poke.Retry, Class: poke.ClassNATS})
		return outgoing{}, turnOver
	case time.Now().Before(g.heldUntil):
		l.scheduled = false
		l.d.Gates.sleep(l, g.heldUntil)
		return outgoing{}, turnOver
	}
	return l.pickLagging()
}

// pickLive chooses for a live lane: the first item of its queue.
func (l *lane) pickLive() (outgoing, turn) {
	l.skipBadges()
	if l.gone || l.d.closing || len(l.queue) == 0 {
		l.scheduled = false
		return outgoing{}, turnOver
	}
	it := l.queue[0]
	if it.badge {
		p := l.badgePoke(it.seq)
		if l.clears(it.cleared) {
			p.cleared = it.cleared
		}
		return p, turnPoke
	}
	unread := it.unread
	if now, known := l.unread(); known {
		unread = min(unread, now) // some may have been read meanwhile
	}
	return outgoing{pusher: l.pusher, seq: it.seq, n: *it.n, room: it.room, unread: unread, live: true, attempt: 1}, turnPoke
}

// pickLagging chooses for a lagging lane: the next item that was read from the log, the
// badge at the end, or reading on.
func (l *lane) pickLagging() (outgoing, turn) {
	g := l.lag
	if p, ok := l.call(time.Now()); ok {
		return p, turnPoke
	}
	for len(g.items) > 0 && (!l.pusher.Wants(&g.items[0].n) || g.calls.wasDelivered(g.items[0].seq)) {
		g.pass(g.items[0].seq, false)
	}
	g.finishReading()
	if g.badge && g.atEnd() && g.clearing == nil && (!l.showsBadge() || l.knowsBadge()) {
		g.badge = false
	}
	switch {
	case g.caughtUp():
		l.catchUpDone()
		l.scheduled = false
		return outgoing{}, turnOver
	case g.atEnd() && l.knowsUnread():
		p := l.badgePoke(g.position)
		p.cleared = g.clearing
		p.attempt, p.skip = g.attempts+1, g.skip != nil
		return p, turnPoke
	case len(g.items) == 0:
		return outgoing{}, turnRead
	}
	p := l.lagging(0)
	p.skip = g.skip != nil
	return p, turnPoke
}

// knowsUnread reports whether the unread count of the lane's user is in memory.
func (l *lane) knowsUnread() bool {
	_, known := l.unread()
	return known
}

// lagging returns the poke of an item that was read from the log.
func (l *lane) lagging(i int) outgoing {
	g := l.lag
	it := g.items[i]
	now, _ := l.unread()
	return outgoing{
		pusher: l.pusher, seq: it.seq, n: it.n, room: it.room,
		unread: g.count(i, now), attempt: g.attempts + 1,
	}
}

// skipBadges drops badges at the head of the queue that need not be sent: a later poke
// carries the count, or the pusher has it already, and they tell it of no room.
func (l *lane) skipBadges() {
	for len(l.queue) > 0 && l.queue[0].badge {
		if len(l.queue) == 1 && !l.knowsBadge() || l.clears(l.queue[0].cleared) {
			return
		}
		l.drop(0)
	}
}

// badgePoke returns the poke that carries nothing but the unread count.
func (l *lane) badgePoke(seq uint64) outgoing {
	now, _ := l.unread()
	return outgoing{pusher: l.pusher, seq: seq, badge: true, unread: now, attempt: 1}
}

// age returns how long ago the event of the poke was stored, or 0 if it has none.
func (p *outgoing) age(now time.Time) time.Duration {
	if p.badge {
		return 0
	}
	return now.Sub(p.n.At)
}
