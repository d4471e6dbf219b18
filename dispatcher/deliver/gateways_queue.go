package deliver

import (
	"time"

	"poked/dispatcher/poke"
)

// submit queues a lane at its gateway. The caller holds the mutex of the lane's deliverer.
// A lane that lags waits behind those that fell behind before it or, if it is catching up
// (first), before them, and counts as waiting since that time. For a live lane submit
// returns why it should lag, or ClassOK.
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

// queueOf returns the queue in which a lane waits at its gateway.
func queueOf(l *lane) int {
	switch {
	case l.lag == nil:
		return liveQueue
	case l.lag.attempts == 0:
		return behindQueue
	}
	return failedQueue
}

// admit makes as many of the lanes that wait at a gateway ready as it has places, after the test
// pushes that wait.
func (gs *Gateways) admit(g *gateway, now time.Time) {
	gs.admitTesters(g, now)
	for !gs.closed && g.hasPlace(gs.ceiling) {
		l := g.next(now)
		if l == nil {
			return
		}
		l.leave()
		g.inFlight++
		gs.makeReady(l)
	}
}

// urge gives a waiting lane the next place at its gateway, as the next probe if the gateway
// is down.
func (gs *Gateways) urge(l *lane) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	g := l.node.gate
	if g == nil || l.node.in == nil || !g.waitsIn(l.node.in) {
		return
	}
	waiting, now := l.node.in, time.Now()
	l.leave()
	waiting.pushFront(l)
	if g.breaker.open && g.breaker.nextProbe.After(now) {
		g.breaker.nextProbe = now
	}
	gs.admit(g, now)
}

// withdraw removes a lane that waits for a place or its next try, and reports whether it
// did.
func (gs *Gateways) withdraw(l *lane) bool {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if in := l.node.in; in == nil || in == &gs.ready || in == &gs.out {
		return false
	}
	l.leave()
	return true
}
