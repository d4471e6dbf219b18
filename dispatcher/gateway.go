package dispatcher

import (
	"sync"
	"time"
)

// recoveryFailures is after how many failures in a row, whosever pokes they
// were, a gateway counts as down: the first success after that wakes everyone
// who lags at it.
const recoveryFailures = 3

// gateways shares the delivery slots among the push gateways. A lane that has
// something to send is submitted; it waits at its gateway, in order of arrival,
// until the gateway has less than its limit in flight, and is then ready for
// the next free slot. So one gateway holds at most its share of the slots, and
// who waits holds none. A slot whose attempt takes longer than patience no longer
// counts, so that gateways which hang leave the others as many as before; and a
// gateway that hangs or fails gets only a few places until it answers again.
//
// Lock order: a deliverer's mutex may be held when this one is taken, never the
// other way round.
type gateways struct {
	perGateway int                 // requests in flight at one gateway, at most
	slots      int                 // requests in flight in all, at most
	spawn      func(worker func()) // runs a slot's loop in a goroutine that its owner waits for

	mu       sync.Mutex
	some     sync.Cond // ready is not empty, or closed
	byOrigin map[string]*gateway
	ready    fifo[*lane]
	started  int // slots whose loop runs
	idle     int // of those, the ones that wait
	late     int // of those, the ones whose attempt takes longer than patience
	looked   time.Time
	hanging  map[string]bool // gateways that hung when last looked at
	closed   bool
}

// gateway is what is known of one push gateway while anything is going on
// there.
type gateway struct {
	inFlight    int                 // lanes that hold a slot or are ready for one
	began       map[*lane]time.Time // when the attempts that are out began
	waiting     fifo[*lane]
	lagging     map[*lane]struct{}
	failures    int       // in a row
	quick       bool      // the last of them may be over in a moment
	wellAt      time.Time // when it last worked, or was first heard of
	probedAt    time.Time
	late        int // attempts that took longer than patience when last looked at
	pausedUntil time.Time
}

func newGateways(slots, perGateway int, spawn func(func())) *gateways {
	gs := &gateways{slots: slots, perGateway: perGateway, spawn: spawn, byOrigin: map[string]*gateway{}}
	gs.some.L = &gs.mu
	return gs
}

// at returns the gateway of an origin. The caller holds the mutex.
func (gs *gateways) at(origin string) *gateway {
	g := gs.byOrigin[origin]
	if g == nil {
		g = &gateway{lagging: map[*lane]struct{}{}, began: map[*lane]time.Time{}, wellAt: time.Now()}
		gs.byOrigin[origin] = g
	}
	return g
}

// submit has a lane tried as soon as its gateway and the slots allow.
func (gs *gateways) submit(l *lane, origin string) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	g := gs.at(origin)
	g.waiting.push(l)
	gs.admit(g)
}

// admit makes as many ready of those who wait at a gateway as it has places.
func (gs *gateways) admit(g *gateway) {
	for g.inFlight < gs.places(g) {
		l, ok := g.waiting.pop()
		if !ok {
			return
		}
		g.inFlight++
		gs.makeReady(l)
	}
}

// sickShare is the part of its places that a gateway keeps while it hangs or
// fails, to find out when it is well again.
const sickShare = 16

// places returns how many requests a gateway may have in flight.
func (gs *gateways) places(g *gateway) int {
	if g.failures >= recoveryFailures || gs.hangs(g) {
		return max(gs.perGateway/sickShare, 1)
	}
	return gs.perGateway
}

// hangs says whether a gateway keeps a quarter of its places for longer than
// patience: who waits there waits in vain. One that is merely busy, with answers
// that come quickly, does not hang.
func (gs *gateways) hangs(g *gateway) bool { return g.late > 0 && 4*g.late >= gs.perGateway }

func (gs *gateways) makeReady(l *lane) {
	gs.ready.push(l)
	// An idle slot that was called has not come yet, and takes one lane only.
	if gs.ready.len() > gs.idle && gs.started < gs.slots+gs.late && !gs.closed {
		gs.started++
		gs.spawn(gs.slot)
		return
	}
	gs.some.Signal()
}

// slot is one delivery slot: it tries one lane after the other, each for one
// attempt.
func (gs *gateways) slot() {
	var s sender
	for {
		l, ok := gs.next()
		if !ok {
			return
		}
		origin := l.place()
		gs.begin(l, origin, time.Now())
		again := l.attempt(&s)
		gs.release(l, origin)
		if again {
			l.resubmit()
		}
	}
}

func (gs *gateways) next() (*lane, bool) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	gs.idle++
	for gs.ready.len() == 0 && !gs.closed {
		gs.some.Wait()
	}
	gs.idle--
	return gs.ready.pop()
}

// begin notes when an attempt began.
func (gs *gateways) begin(l *lane, origin string, now time.Time) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	gs.at(origin).began[l] = now
}

// lookInterval is how long what was seen at a look stays true enough: every
// partition asks.
const lookInterval = 100 * time.Millisecond

// A gateway that is down is asked how it is: by one of those who lag there, every
// probeInterval, as long as it worked within probeFor. So it is caught up soon
// after it is back, whatever the waits of its pushers have grown to.
const (
	probeInterval = 10 * time.Second
	probeFor      = 24 * time.Hour
)

// probe returns a lane whose turn it is to find out whether its gateway is back.
func (gs *gateways) probe(g *gateway, now time.Time) (*lane, bool) {
	due := g.failures >= recoveryFailures && g.quick && g.inFlight == 0 && now.After(g.pausedUntil) &&
		now.Sub(g.probedAt) >= probeInterval && now.Sub(g.wellAt) < probeFor
	if !due {
		return nil, false
	}
	for l := range g.lagging {
		g.probedAt = now
		return l, true
	}
	return nil, false
}

// look counts the attempts that take longer than patience. It returns the
// gateways that hang, which must not be changed, and lanes to be tried now.
func (gs *gateways) look(now time.Time) (hanging map[string]bool, probes []*lane) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if now.Sub(gs.looked) < lookInterval {
		return gs.hanging, nil
	}
	gs.looked, gs.hanging, gs.late = now, map[string]bool{}, 0
	for origin, g := range gs.byOrigin {
		g.late = 0
		for _, began := range g.began {
			if now.Sub(began) >= patience {
				g.late++
			}
		}
		gs.late += g.late
		if gs.hangs(g) {
			gs.hanging[origin] = true
		}
		if l, ok := gs.probe(g, now); ok {
			probes = append(probes, l)
		}
		gs.forgetIfIdle(origin, g) // a pause may be over
	}
	gs.replaceLate()
	return gs.hanging, probes
}

// replaceLate starts slots in the place of those that are late.
func (gs *gateways) replaceLate() {
	for range min(gs.ready.len()-gs.idle, gs.slots+gs.late-gs.started) {
		if gs.closed {
			return
		}
		gs.started++
		gs.spawn(gs.slot)
	}
}

// release gives a lane's place at a gateway to whoever waits there longest.
func (gs *gateways) release(l *lane, origin string) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	g := gs.at(origin)
	delete(g.began, l)
	g.inFlight--
	gs.admit(g)
	gs.forgetIfIdle(origin, g)
}

// forgetIfIdle drops what is known of a gateway where nothing goes on, so that
// memory follows the gateways in use.
func (gs *gateways) forgetIfIdle(origin string, g *gateway) {
	if g.inFlight == 0 && g.waiting.len() == 0 && len(g.lagging) == 0 && time.Now().After(g.pausedUntil) {
		delete(gs.byOrigin, origin)
	}
}

// pausedUntil returns until when a gateway asked to be left alone, or the zero
// time.
func (gs *gateways) pausedUntil(origin string) time.Time {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if g := gs.byOrigin[origin]; g != nil {
		return g.pausedUntil
	}
	return time.Time{}
}

// report takes in how a try went, and returns the lanes that are worth a try
// now because their gateway is back.
func (gs *gateways) report(origin string, out outcome, now time.Time) []*lane {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	g := gs.at(origin)
	switch out.kind {
	case outcomeDelivered, outcomeRejected:
		wasDown := g.failures >= recoveryFailures
		g.failures, g.wellAt = 0, now
		if wasDown {
			gs.admit(g)
			return keys(g.lagging)
		}
	case outcomeRetry, outcomeSlow:
		g.failures, g.quick = g.failures+1, out.kind == outcomeRetry
		if until := now.Add(out.retryAfter); out.retryAfter > 0 && until.After(g.pausedUntil) {
			g.pausedUntil = until
		}
	case outcomePaused, outcomeExpired:
	}
	return nil
}

// presumeDown takes in what the last worker knew of a gateway where somebody
// lags: that it failed, and until when it asked to be left alone.
func (gs *gateways) presumeDown(origin string, pausedUntil time.Time) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	g := gs.at(origin)
	g.failures, g.quick = recoveryFailures, true
	if pausedUntil.After(g.pausedUntil) {
		g.pausedUntil = pausedUntil
	}
}

// lags notes that a lane waits for its next try at a gateway.
func (gs *gateways) lags(l *lane, origin string) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	gs.at(origin).lagging[l] = struct{}{}
}

// lagsNoMore undoes lags.
func (gs *gateways) lagsNoMore(l *lane, origin string) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if g := gs.byOrigin[origin]; g != nil {
		delete(g.lagging, l)
		gs.forgetIfIdle(origin, g)
	}
}

// close ends the slots once nothing is ready any more.
func (gs *gateways) close() {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	gs.closed = true
	gs.some.Broadcast()
}

func keys[K comparable](set map[K]struct{}) []K {
	all := make([]K, 0, len(set))
	for k := range set {
		all = append(all, k)
	}
	return all
}
