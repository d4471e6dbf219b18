package deliver

import (
	"time"

	"poked/dispatcher/poke"
)

// submit has a lane tried as soon as its gateway and the slots allow; the caller
// holds the mutex of the lane's deliverer. A lane that
// lags stands behind those who fell behind before it, or, if it is in the middle
// of catching up, before them, and counts as waiting since that time. For a live
// lane it returns why it had better lag, or "".
func (gs *Gateways) submit(l *lane, origin string, first bool, since time.Time) (held poke.Class) {
	now := time.Now()
	gs.mu.Lock()
	defer gs.mu.Unlock()
	l.leave()
	g := gs.at(origin, now)
	l.node.gate, l.node.since, g.usedAt = g, since, now
	l.node.unfailed = queueOf(l) != failedQueue
	if g.breaker.worthAProbe(l) {
		g.breaker.nextProbe, first = now, true
	}
	q := &g.waiting[queueOf(l)]
	if first {
		q.pushFront(l)
	} else {
		q.push(l)
	}
	gs.admit(g, now)
	if l.node.in != &g.waiting[liveQueue] {
		return poke.ClassOK
	}
	return g.held(now)
}

func queueOf(l *lane) int {
	switch {
	case l.lag == nil:
		return liveQueue
	case l.lag.attempts == 0:
		return behindQueue
	}
	return failedQueue
}

// admit makes as many ready of those who wait at a gateway as it has places, and
// perhaps a scout.
func (gs *Gateways) admit(g *gateway, now time.Time) {
	for !gs.closed {
		free := g.inFlight < g.limit.Places()
		if !free && !gs.sendsExtraProbe(g, now) {
			return
		}
		l := g.next(now)
		if l == nil {
			return
		}
		if !free {
			gs.putOffExtraProbe(g, now)
		}
		l.leave()
		g.inFlight++
		gs.makeReady(l)
	}
}

// urge gives a lane that waits the next place at its gateway, as the next probe if
// that is down.
func (gs *Gateways) urge(l *lane) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	g := l.node.gate
	if g == nil || l.node.in == nil || !g.waitsIn(l.node.in) {
		return
	}
	line, now := l.node.in, time.Now()
	l.leave()
	line.pushFront(l)
	if g.breaker.open && g.breaker.nextProbe.After(now) {
		g.breaker.nextProbe = now
	}
	gs.admit(g, now)
}

// withdraw takes a lane out that waits or sleeps, and says whether it did.
func (gs *Gateways) withdraw(l *lane) bool {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if in := l.node.in; in == nil || in == &gs.ready || in == &gs.out {
		return false
	}
	l.leave()
	return true
}
