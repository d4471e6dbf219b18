package deliver

import (
	"time"
)

// makeReady queues a lane for the next free slot, a probe before all others.
func (gs *Gateways) makeReady(l *lane) {
	if l.node.isProbe(l) {
		gs.ready.pushFront(l)
	} else {
		gs.ready.push(l)
	}
	// An idle slot that was signalled may not run yet, and takes one lane only.
	if gs.ready.n > gs.idle && gs.started < gs.slots+gs.late && !gs.closed {
		gs.started++
		gs.spawn(gs.slot)
		return
	}
	gs.some.Signal()
}

// slot is one delivery slot: it makes one attempt of one lane after the other.
func (gs *Gateways) slot() {
	var s sender
	for {
		l, ok := gs.next()
		if !ok {
			return
		}
		l.attempt(&s)
	}
}

// next waits for a lane that is ready, whose attempt then begins. A slot that was replaced
// because its attempt was late ends here.
func (gs *Gateways) next() (*lane, bool) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if gs.started > gs.slots+gs.late {
		gs.started--
		return nil, false
	}
	gs.idle++
	for !gs.mayBegin() && !gs.closed {
		gs.some.Wait()
	}
	gs.idle--
	l := gs.ready.first
	if l == nil {
		return nil, false
	}
	l.leave()
	l.node.since = time.Now()
	gs.out.push(l)
	gs.delay.begin(l.node.since)
	return l, true
}

// mayBegin reports whether a lane is ready and the lease is held.
func (gs *Gateways) mayBegin() bool {
	if gs.ready.n == 0 {
		return false
	}
	gs.halted = !gs.lease.Held()
	return !gs.halted
}

// release gives the place of a lane that sent nothing to the next one. The caller holds the
// mutex of the lane's deliverer, so that the lane is not submitted meanwhile.
func (gs *Gateways) release(l *lane) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	gs.giveUp(l)
}

// hold lets a lane keep its place, without a slot, until resume. It reports whether the
// lane is a probe. The caller holds the mutex of the lane's deliverer.
func (gs *Gateways) hold(l *lane) (probe bool) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	l.leave()
	if l.node.late {
		l.node.late = false
		l.node.gate.late--
		gs.late--
	}
	return l.node.isProbe(l)
}

// resume makes a lane ready that kept its place.
func (gs *Gateways) resume(l *lane) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	gs.makeReady(l)
}

// giveUp ends the attempt of a lane that has a place, and admits the next one.
func (gs *Gateways) giveUp(l *lane) {
	if l.node.in == &gs.out || l.node.late {
		now := time.Now()
		gs.vacate(l, now)
		gs.admit(l.node.gate, now)
	}
}

// vacate frees the place of a lane at its gateway.
func (gs *Gateways) vacate(l *lane, now time.Time) {
	g := l.node.gate
	l.leave()
	g.inFlight--
	g.usedAt = now
	if l.node.late {
		l.node.late = false
		g.late--
		gs.late--
	}
	if g.breaker.probe == l {
		g.breaker.probe = nil // report records how it went
	}
}
