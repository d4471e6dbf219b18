package deliver

import (
	"slices"
	"sync"
	"time"

	"poked/dispatcher/directory"
	"poked/dispatcher/poke"
	"poked/events"
	"poked/events/partition"
)

// Gateways shares the delivery slots among the push gateways. A lane that has something to
// send is submitted. It waits at its gateway until fewer requests than the gateway's limit
// are in flight there, and is then ready for the next free slot. So one gateway takes at
// most its share of the slots, and waiting lanes take none. A slot whose attempt takes
// longer than Patience no longer counts, so gateways that hang leave the others as many
// slots as before.
//
// Nothing here iterates over all gateways or all lanes: what is due at a time is in a timer
// wheel, attempts are queued in the order in which they began.
//
// Lock order: a deliverer's mutex may be held when this one is taken, never the other way
// round.
type Gateways struct {
	floor, ceiling int                 // of requests in flight at one gateway
	slots          int                 // requests in flight in all, at most
	spawn          func(worker func()) // runs a slot's loop in a goroutine that its owner waits for
	lease          *partition.Lease    // while it is not held no attempt begins
	announced      chan struct{}       // wakes SharePauses
	payloads       PayloadLimits
	retireAfter    time.Duration // 0 is never

	mu       sync.Mutex
	some     sync.Cond // ready is not empty, or closed
	byOrigin map[string]*gateway
	ready    queue
	out      queue // attempts that are not late, by when they began
	started  int   // slots that run
	idle     int   // of those, the ones that wait for a lane
	late     int   // of those, the ones whose attempt takes longer than Patience
	wheel    wheel
	delay    ownDelay
	unwell   []*gateway            // those of which a probe may be sent early, and some that work again
	unshared map[*gateway]struct{} // gateways whose pause has yet to be shared
	absent   map[string]*absence   // gateways that are gone, by origin
	workedAt time.Time             // when any gateway last did
	halted   bool                  // a slot waits for the lease
	closed   bool
}

// NewGateways returns a set of gateways that share a number of delivery slots. The
// concurrency limit of each gateway is between floor and ceiling. No attempt begins while
// the lease is not held; nil is always held. spawn runs a slot's loop in a goroutine.
func NewGateways(slots, floor, ceiling int, lease *partition.Lease, spawn func(func())) *Gateways {
	gs := &Gateways{
		lease: lease, slots: slots, floor: floor, ceiling: ceiling, spawn: spawn,
		announced: make(chan struct{}, 1), unshared: map[*gateway]struct{}{},
		byOrigin: map[string]*gateway{}, absent: map[string]*absence{}, wheel: newWheel(time.Now()),
		delay: ownDelay{starts: make(chan struct{}, 1)},
	}
	gs.some.L = &gs.mu
	return gs
}

// forgetAfter is how long an unused gateway is remembered.
const forgetAfter = 10 * time.Minute

// at returns the gateway of an origin. The caller holds the mutex.
func (gs *Gateways) at(origin string, now time.Time) *gateway {
	g := gs.byOrigin[origin]
	if g == nil {
		g = &gateway{origin: origin, limit: poke.NewLimit(gs.floor, withoutProbes(gs.ceiling)), usedAt: now}
		g.breaker.wellAt, g.breaker.closedAt = now, now
		g.payload.configured = gs.payloads[origin]
		gs.byOrigin[origin] = g
		g.checkedAt = now.Add(forgetAfter)
		gs.checkAt(g, g.checkedAt)
	}
	return g
}

// checkAt schedules a check of a gateway.
func (gs *Gateways) checkAt(g *gateway, when time.Time) {
	p := gs.wheel.at(when)
	p.gates = append(p.gates, g)
}

// check admits waiting lanes to a gateway, since a pause may be over or a probe due, and
// forgets the gateway if it has not been used for long.
func (gs *Gateways) check(g *gateway, now time.Time) {
	gs.admit(g, now)
	if now.Before(g.checkedAt) {
		return
	}
	if gs.byOrigin[g.origin] != g {
		return // forgotten meanwhile: there may be a new one of the same origin
	}
	if g.idle() && now.Sub(g.usedAt) >= forgetAfter && !now.Before(g.pausedUntil) && !g.payload.remembers(now) {
		delete(gs.byOrigin, g.origin)
		gs.unwell = slices.DeleteFunc(gs.unwell, func(other *gateway) bool { return other == g })
		return
	}
	g.checkedAt = now.Add(forgetAfter)
	gs.checkAt(g, g.checkedAt)
}

// lags counts a lane that lags at a gateway. If it waits there, it moves to the queue of
// lagging lanes.
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

// lagsNoMore counts a lane that lags at a gateway no more.
func (gs *Gateways) lagsNoMore(g *gateway) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if g.lagging--; g.lagging == 0 {
		g.took = nil
	}
}

// sleep makes a lane wait for its own next try.
func (gs *Gateways) sleep(l *lane, until time.Time) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	gs.giveUp(l)
	l.leave()
	gs.wheel.at(until).lanes.push(l)
}

// Close ends the slots once no lane is ready any more.
func (gs *Gateways) Close() {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	gs.closed = true
	gs.some.Broadcast()
}

// States returns what operators see of the gateways. limited reports that the dispatcher is
// behind with all that it does, so that no gateway is the cause.
func (gs *Gateways) States(limited bool) []events.GatewayState {
	now := time.Now()
	gs.mu.Lock()
	defer gs.mu.Unlock()
	states := make([]events.GatewayState, 0, len(gs.byOrigin))
	for origin, g := range gs.byOrigin {
		if origin != directory.RefusedOrigin {
			states = append(states, g.state(now, limited))
		}
	}
	return states
}
