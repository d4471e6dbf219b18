package deliver

import (
	"time"

	"poked/dispatcher/poke"
	"poked/events"
)

// The queues in which lanes wait for a place at a gateway.
const (
	liveQueue   = iota // live lanes
	behindQueue        // lanes that lag, in the order in which they fell behind
	failedQueue        // of those, the ones whose last try failed
	queues
)

// gateway is what a dispatcher knows of one push gateway. The mutex of the gateways guards
// it.
type gateway struct {
	origin string

	waiting   [queues]queue
	turn      int       // the queue that had the last turn
	lateAt    time.Time // see outrun
	fresh     int       // turns of live lanes in a row, see freshTurns
	inFlight  int       // lanes that have a place: they have a delivery slot, or are ready for one
	late      int       // of those, the ones whose attempt takes longer than Patience
	lagging   int       // lanes that lag, whatever they wait for
	testers   []*tester // test pushes that wait for a place
	testing   []*tester // those that have one
	usedAt    time.Time
	checkedAt time.Time // when to check next whether it can be forgotten

	listed     bool // in Gateways.unwell
	limit      poke.Limit
	breaker    breaker
	recovering bool // the limit grows again after the gateway was down or paused

	pausedAt    time.Time // when the newest pause began
	pausedUntil time.Time
	pauseShared time.Time // until when the other dispatchers know that it is paused
	// latency is that of its responses, in seconds: an exponentially weighted mean. It
	// begins at zero, so that the first responses over new connections make no gateway slow.
	latency   float64
	errorRate float64 // likewise, 0 to 1
	failure   poke.Failure
	payload   payload
	accepted  acceptances // of our key, by a push service of browsers
	// took is when it last took a poke of each app that has refused pokes here.
	took map[app]time.Time
}

// sampleWeight is the weight of the newest request in a mean.
const sampleWeight = 2.0 / (events.GatewayWindow + 1)

func sample(mean *float64, value float64) { *mean += (value - *mean) * sampleWeight }

// shut returns why only probes are sent to the gateway, or ClassOK.
func (g *gateway) shut(now time.Time) poke.Class {
	switch {
	case now.Before(g.pausedUntil):
		return poke.ClassPaused
	case g.breaker.open:
		return poke.ClassGatewayDown
	}
	return poke.ClassOK
}

// held returns why a live lane that waits here should lag, so that its notifications take
// no place in its partition's window, or ClassOK.
func (g *gateway) held(now time.Time) poke.Class {
	if why := g.shut(now); why != poke.ClassOK {
		return why
	}
	if g.swamped() {
		return poke.ClassSlow
	}
	return poke.ClassOK
}

// slowAnswer is the latency, in seconds, from which on a gateway is slow. Below it the
// dispatcher is the bottleneck, not the gateway.
const slowAnswer = 0.1

// firstAnswer is how long, in seconds, the first response of a gateway may take before the
// gateway counts as slow.
const firstAnswer = 0.25

// swamped reports whether the live lanes that wait here will, by Little's law, wait longer
// than Patience because of the gateway: its responses take long, or requests that hang
// take all that the operator allows it.
func (g *gateway) swamped() bool {
	moving := min(g.limit.Places(), int(g.limit.Ceiling)-g.late)
	if moving <= 0 {
		return true
	}
	ahead := 0 // the queues take turns
	for i := range g.waiting {
		ahead += min(g.waiting[i].n, g.waiting[liveQueue].n)
	}
	return g.latency >= slowAnswer && float64(ahead)*g.latency/float64(moving) >= Patience.Seconds()
}

// Late requests keep their connections until their time limit, long after the gateway may
// work again. So they take no place of the adaptive limit, only of the ceiling that the
// operator allows. probePlaces of these are reserved for the probes of a gateway that hangs:
// enough for the time limit of a request.
const (
	probePlaces = 8
	probeShare  = 32 // one in so many places, at most probePlaces
)

// withoutProbes returns how many of a gateway's places are not reserved for probes.
func withoutProbes(ceiling int) int { return ceiling - min(probePlaces, ceiling/probeShare) }

// hasPlace reports whether one more request may begin at the gateway. ceiling is what the
// operator allows.
func (g *gateway) hasPlace(ceiling int) bool {
	if !g.breaker.open {
		ceiling = int(g.limit.Ceiling)
	}
	inFlight, late := g.inFlight+len(g.testing), g.late
	for _, t := range g.testing {
		if t.late {
			late++
		}
	}
	return inFlight < ceiling && inFlight-late < g.limit.Places()
}

// hangs reports whether everything in flight at the gateway is late, and that is at least as
// much as its limit.
func (g *gateway) hangs() bool { return g.late == g.inFlight && g.late >= g.limit.Places() }

// ExpiryLook is how long a lane waits at a gateway that is down or paused before it gets a
// turn to expire what is too old.
const ExpiryLook = 15 * time.Minute

// next returns the lane that gets the next place, or nil. While the gateway is down or
// paused that is the probe, or a lane that may have something to expire.
func (g *gateway) next(now time.Time) *lane {
	paused := now.Before(g.pausedUntil)
	switch {
	case g.breaker.probeDue(now) && !paused:
		g.breaker.probe = g.likeliest()
		return g.breaker.probe
	case g.breaker.open || paused:
		return g.stale(now)
	}
	if l := g.waiting[liveQueue].first; l != nil && now.Sub(l.node.since) >= Patience/2 {
		if g.fresh = (g.fresh + 1) % freshTurns; g.fresh > 0 {
			return l
		}
	}
	for range queues {
		if g.turn = (g.turn + 1) % queues; g.waiting[g.turn].n > 0 {
			break
		}
	}
	return g.waiting[g.turn].first
}

// freshTurns is the number of turns of which live lanes get all but one when there is more to
// send than the dispatcher can: what is new goes first, lest everything be late. Otherwise
// the queues take turns.
const freshTurns = 8

// likeliest returns the lane that is most likely to succeed if the gateway works: not one
// that has failed, and not one that arrived when others failed.
func (g *gateway) likeliest() *lane {
	for _, l := range []*lane{g.waiting[liveQueue].first, g.waiting[behindQueue].last, g.waiting[failedQueue].first} {
		if l != nil {
			return l
		}
	}
	return nil
}

// stale returns a lane that has waited for ExpiryLook, or nil.
func (g *gateway) stale(now time.Time) *lane {
	for i := range g.waiting {
		if l := g.waiting[i].first; l != nil && now.Sub(l.node.since) >= ExpiryLook {
			return l
		}
	}
	return nil
}

// waitsIn reports whether a queue is one of this gateway's.
func (g *gateway) waitsIn(q *queue) bool {
	for i := range g.waiting {
		if q == &g.waiting[i] {
			return true
		}
	}
	return false
}

// queued returns how many lanes wait here.
func (g *gateway) queued() (n int) {
	for i := range g.waiting {
		n += g.waiting[i].n
	}
	return n
}

// idle reports whether no lane uses the gateway.
func (g *gateway) idle() bool {
	return g.inFlight == 0 && g.queued() == 0 && g.lagging == 0 && len(g.testers)+len(g.testing) == 0
}

// LateFrom is the age from which on what reaches a gateway that answers fast, for a pusher
// that does not lag, is late because of the dispatcher, and not of the gateway.
const LateFrom = 2 * time.Second

// noteLate records that a poke whose attempt began at a time was late because of the
// dispatcher.
func (g *gateway) noteLate(p *outgoing, began, now time.Time) {
	if p.live && g.latency < slowAnswer && p.age(began) >= LateFrom {
		g.lateAt = now
	}
}

// outrun reports whether pokes were late a moment ago because of the dispatcher, or of how
// many it may have in flight here.
func (g *gateway) outrun(now time.Time) bool { return now.Sub(g.lateAt) < LateFrom }

// state returns what operators see of the gateway. limited reports that the dispatcher is
// behind with all that it does.
func (g *gateway) state(now time.Time, limited bool) events.GatewayState {
	s := events.GatewayState{
		Origin: g.origin, State: events.GatewayClosed, InFlight: g.inFlight, Limit: g.limit.Places(), MaxBody: g.payload.shown(now),
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
		s.State, s.Since = events.GatewayPaused, g.pausedAt
	case g.breaker.open && g.breaker.probe != nil:
		s.State, s.Since = events.GatewayProbing, g.breaker.openedAt
	case g.breaker.open:
		s.State, s.Since = events.GatewayOpen, g.breaker.openedAt
	case g.outrun(now), limited && !g.idle():
		s.State, s.Since = events.GatewayCapacity, g.workedSince()
	case g.recovering:
		s.State, s.Since = events.GatewayRecovering, g.workedSince()
	default:
		s.Since = g.workedSince()
	}
	return s
}

// workedSince returns when a gateway that is neither down nor paused was that last, or the
// zero time.
func (g *gateway) workedSince() time.Time {
	if g.pausedUntil.After(g.breaker.closedAt) {
		return g.pausedUntil
	}
	return g.breaker.closedAt
}
