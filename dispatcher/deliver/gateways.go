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
