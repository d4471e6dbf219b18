package deliver

import (
	"time"

	"poked/dispatcher/poke"
	"poked/events"
)

// The lines in which lanes wait for a place at a gateway.
const (
	liveQueue   = iota // live lanes
	behindQueue        // lanes that lag, in the order in which they fell behind
	failedQueue        // of those, the ones whose last try failed
	queues
)

// gateway is what is known of one push gateway. The mutex of the gateways guards
// it.
type gateway struct {
	origin string

	waiting   [queues]queue
	turn      int // line that had the last turn
	inFlight  int // lanes that have a place: they hold a slot, or are ready for one
	late      int // of those, the ones whose attempt takes longer than patience
	lagging   int // lanes that lag, wherever they stand
	usedAt    time.Time
	checkedAt time.Time // when it is next asked whether it can be forgotten

	limit          poke.Limit
	breaker        breaker
	recovering     bool // what it gets grows again after it was down or paused
	nextExtraProbe time.Time

	pausedUntil time.Time
	pauseShared time.Time // until when all dispatchers know that it is paused
	// latency is that of its answers, in seconds: a mean in which the newest count
	// most. It begins at zero, so that the first answers over new connections make
	// no gateway slow.
	latency   float64
	errorRate float64 // likewise, 0 to 1
	failure   poke.Failure
}

// sampleWeight is how much the newest request counts in a mean.
const sampleWeight = 1.0 / 16

func sample(mean *float64, value float64) { *mean += (value - *mean) * sampleWeight }

// shut says why nothing but a probe is sent to the gateway, or "".
func (g *gateway) shut(now time.Time) poke.Class {
	switch {
	case now.Before(g.pausedUntil):
		return poke.ClassPaused
	case g.breaker.open:
		return poke.ClassGatewayDown
	}
	return poke.ClassOK
}

// held says why a live lane that waits here had better lag, so that what it has
// to tell keeps no place in its partition's window, or "".
func (g *gateway) held(now time.Time) poke.Class {
	if why := g.shut(now); why != poke.ClassOK {
		return why
	}
	if g.swamped() {
		return poke.ClassSlow
	}
	return poke.ClassOK
}

// slowAnswer is from where on a gateway is slow, in seconds. One whose answers
// take less than that is fast, and whoever waits there waits for ourselves.
const slowAnswer = 0.1

// firstAnswer is how long, in seconds, a gateway that has never answered may take
// until it counts as slow.
const firstAnswer = 0.25

// swamped says whether the live lanes that wait here will, by Little's law, wait
// for longer than patience because of the gateway: its answers take long, or
// its places are taken by requests that hang.
func (g *gateway) swamped() bool {
	moving := g.limit.Places() - g.late
	if moving <= 0 {
		return true
	}
	ahead := 0 // the lines take turns
	for i := range g.waiting {
		ahead += min(g.waiting[i].n, g.waiting[liveQueue].n)
	}
	return g.latency >= slowAnswer && float64(ahead)*g.latency/float64(moving) >= Patience.Seconds()
}

// ExpiryLook is how long a lane waits at a gateway that is shut until it is given
// a turn to see whether what it has to tell has outlived its time.
const ExpiryLook = 15 * time.Minute

// next returns the lane whose turn it is to have a place, or nil: while the
// gateway is shut the probe, or who may have something to bury.
func (g *gateway) next(now time.Time) *lane {
	paused := now.Before(g.pausedUntil)
	switch {
	case g.breaker.probeDue(now) && !paused:
		g.breaker.probe = g.likeliest()
		return g.breaker.probe
	case g.breaker.open || paused:
		return g.stale(now)
	}
	for range queues {
		if g.turn = (g.turn + 1) % queues; g.waiting[g.turn].n > 0 {
			break
		}
	}
	return g.waiting[g.turn].first
}

// likeliest returns the lane that is most likely to find the gateway well, if it
// is: not one that has failed, and not one that came when others failed.
func (g *gateway) likeliest() *lane {
	for _, l := range []*lane{g.waiting[liveQueue].first, g.waiting[behindQueue].last, g.waiting[failedQueue].first} {
		if l != nil {
			return l
		}
	}
	return nil
}

func (g *gateway) stale(now time.Time) *lane {
	for i := range g.waiting {
		if l := g.waiting[i].first; l != nil && now.Sub(l.node.since) >= ExpiryLook {
			return l
		}
	}
	return nil
}

// waitsIn says whether a line is one of those who wait here.
func (g *gateway) waitsIn(q *queue) bool {
	for i := range g.waiting {
		if q == &g.waiting[i] {
			return true
		}
	}
	return false
}

func (g *gateway) queued() (n int) {
	for i := range g.waiting {
		n += g.waiting[i].n
	}
	return n
}

// allows says why a poke of a lane that has a place may not be sent after all,
// or "".
func (g *gateway) allows(l *lane, now time.Time) poke.Class {
	if why := g.shut(now); why != poke.ClassGatewayDown || g.breaker.probe != l {
		return why
	}
	return poke.ClassOK
}

// idle says whether nothing goes on at the gateway.
func (g *gateway) idle() bool {
	return g.inFlight == 0 && g.queued() == 0 && g.lagging == 0
}

// state is what operators see of the gateway.
func (g *gateway) state(now time.Time) events.GatewayState {
	s := events.GatewayState{
		Origin: g.origin, State: events.GatewayClosed, InFlight: g.inFlight, Limit: g.limit.Places(),
		Waiting: g.queued(), Lagging: g.lagging,
		LatencyMS: g.latency * 1000, ErrorRate: g.errorRate, LastError: g.failure.String(),
	}
	if now.Before(g.pausedUntil) {
		s.PausedUntil = g.pausedUntil
	}
	if g.breaker.open {
		s.NextProbe = g.breaker.nextProbe
	}
	switch {
	case !s.PausedUntil.IsZero():
		s.State = events.GatewayPaused
	case g.breaker.open && g.breaker.probe != nil:
		s.State = events.GatewayProbing
	case g.breaker.open:
		s.State = events.GatewayOpen
	case g.recovering:
		s.State = events.GatewayRecovering
	}
	return s
}
