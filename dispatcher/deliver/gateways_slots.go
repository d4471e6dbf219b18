package deliver

import (
	"time"
)

// makeReady has a lane be next for a free slot, or the first of all if a gateway
// waits for it to be known well again.
func (gs *Gateways) makeReady(l *lane) {
	if l.node.isProbe(l) {
		gs.ready.pushFront(l)
	} else {
		gs.ready.push(l)
	}
	// An idle slot that was called has not come yet, and takes one lane only.
	if gs.ready.n > gs.idle && gs.started < gs.slots+gs.late && !gs.closed {
		gs.started++
		gs.spawn(gs.slot)
		return
	}
	gs.some.Signal()
}

// slot is one delivery slot: it tries one lane after the other, each for one
// attempt.
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

// next waits for a lane that is ready, whose attempt then begins. A slot in whose
// place another one was started ends when its late attempt is over.
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
	return l, true
}

// mayBegin says whether a lane is ready and there is the right to poke.
func (gs *Gateways) mayBegin() bool {
	if gs.ready.n == 0 {
		return false
	}
	gs.halted = !gs.lease.Held()
	return !gs.halted
}

// release gives the place of a lane that sent nothing to whoever is next. The
// caller holds the mutex of the lane's deliverer, so that nobody submits it
// meanwhile.
func (gs *Gateways) release(l *lane) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	gs.giveUp(l)
}

// hold has a lane keep its place while it needs no slot: until resume. It returns
// whether the lane is a probe. The caller holds the mutex of the lane's deliverer.
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

// resume has a lane tried that kept its place.
func (gs *Gateways) resume(l *lane) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	gs.makeReady(l)
}

func (gs *Gateways) giveUp(l *lane) {
	if l.node.in == &gs.out || l.node.late {
		now := time.Now()
		gs.vacate(l, now)
		gs.admit(l.node.gate, now)
	}
}

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
		g.breaker.probe = nil // report says how it went
	}
}
