package deliver

import (
	"sync"
	"time"

	"poked/dispatcher/directory"
	"poked/dispatcher/poke"
	"poked/events"
	"poked/events/partition"
)

// Gateways shares the delivery slots among the push gateways. A lane that has
// something to send is submitted; it waits at its gateway until that has less
// than its limit in flight, and is then ready for the next free slot. So one
// gateway holds at most its share of the slots, and who waits holds none. A slot
// whose attempt takes longer than patience no longer counts, so that gateways
// which hang leave the others as many as before.
//
// Nothing here walks all gateways or all lanes: what has its time stands in the
// calendar, attempts stand in the order in which they began.
//
// Lock order: a deliverer's mutex may be held when this one is taken, never the
// other way round.
type Gateways struct {
	floor, ceiling int                 // of requests in flight at one gateway
	slots          int                 // requests in flight in all, at most
	spawn          func(worker func()) // runs a slot's loop in a goroutine that its owner waits for
	lease          *partition.Lease    // without which no attempt begins
	announced      chan struct{}       // calls who shares pauses

	mu       sync.Mutex
	some     sync.Cond // ready is not empty, or closed
	byOrigin map[string]*gateway
	ready    queue
	out      queue // attempts that are not late, by when they began
	started  int   // slots whose loop runs
	idle     int   // of those, the ones that wait
	late     int   // of those, the ones whose attempt takes longer than patience
	wheel    wheel
	unshared map[*gateway]struct{} // whose pause the other dispatchers are to hear of
	halted   bool                  // some slot waits for the lease
	closed   bool
}

// NewGateways shares this many slots, of which a gateway gets between floor and
// ceiling, while the lease is held; nil is always held. spawn runs a slot's loop.
func NewGateways(slots, floor, ceiling int, lease *partition.Lease, spawn func(func())) *Gateways {
	gs := &Gateways{
		lease: lease, slots: slots, floor: floor, ceiling: ceiling, spawn: spawn,
		announced: make(chan struct{}, 1), unshared: map[*gateway]struct{}{},
		byOrigin: map[string]*gateway{}, wheel: newWheel(time.Now()),
	}
	gs.some.L = &gs.mu
	return gs
}

// forgetAfter is how long a gateway is remembered where nothing goes on.
const forgetAfter = 10 * time.Minute

// at returns the gateway of an origin. The caller holds the mutex.
func (gs *Gateways) at(origin string, now time.Time) *gateway {
	g := gs.byOrigin[origin]
	if g == nil {
		g = &gateway{origin: origin, limit: poke.NewLimit(gs.floor, withoutExtraProbes(gs.ceiling)), usedAt: now}
		g.breaker.wellAt, g.breaker.closedAt = now, now
		gs.byOrigin[origin] = g
		g.checkedAt = now.Add(forgetAfter)
		gs.call(g, g.checkedAt)
	}
	return g
}

// call has a gateway checked at a time.
func (gs *Gateways) call(g *gateway, when time.Time) {
	p := gs.wheel.at(when)
	p.gates = append(p.gates, g)
}

// check gives a gateway's places to who waits there, for a pause may be over or
// a probe due, and forgets what nobody has used for long.
func (gs *Gateways) check(g *gateway, now time.Time) {
	gs.admit(g, now)
	if now.Before(g.checkedAt) {
		return
	}
	if gs.byOrigin[g.origin] != g {
		return // forgotten meanwhile: another may stand in its place
	}
	if g.idle() && now.Sub(g.usedAt) >= forgetAfter && !now.Before(g.pausedUntil) {
		delete(gs.byOrigin, g.origin)
		return
	}
	g.checkedAt = now.Add(forgetAfter)
	gs.call(g, g.checkedAt)
}

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

// lags notes that a lane lags at a gateway, and has it stand with the others who
// do, if it waits.
func (gs *Gateways) lags(l *lane, origin string) *gateway {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	g := gs.at(origin, time.Now())
	g.lagging++
	if l.node.in == &g.waiting[liveQueue] {
		l.leave()
		g.waiting[behindQueue].push(l)
	}
	return g
}

// lagsNoMore undoes lags.
func (gs *Gateways) lagsNoMore(g *gateway) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	g.lagging--
}

// sleep has a lane come up when its own next try is due.
func (gs *Gateways) sleep(l *lane, until time.Time) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	gs.giveUp(l)
	l.leave()
	gs.wheel.at(until).lanes.push(l)
}

// Close ends the slots once nothing is ready any more.
func (gs *Gateways) Close() {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	gs.closed = true
	gs.some.Broadcast()
}

// States returns what operators see of the gateways.
func (gs *Gateways) States() []events.GatewayState {
	now := time.Now()
	gs.mu.Lock()
	defer gs.mu.Unlock()
	states := make([]events.GatewayState, 0, len(gs.byOrigin))
	for origin, g := range gs.byOrigin {
		if origin != directory.RefusedOrigin {
			states = append(states, g.state(now))
		}
	}
	return states
}

// ByState counts the gateways in each state.
func (gs *Gateways) ByState() map[events.GatewayPhase]int {
	now, states := time.Now(), map[events.GatewayPhase]int{}
	gs.mu.Lock()
	defer gs.mu.Unlock()
	for origin, g := range gs.byOrigin {
		if origin != directory.RefusedOrigin {
			states[g.state(now).State]++
		}
	}
	return states
}
