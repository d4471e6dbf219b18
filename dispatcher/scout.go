package dispatcher

import "time"

// Requests to a gateway that hangs keep their places until their time limit,
// long after it may be well again. So that this is noticed before, one more
// request is made now and then beyond the limit that the gateway has shown to
// bear: a scout. One that is answered quickly is followed by the next at once.
// What the operator allows for one gateway is never exceeded: some of its places
// are left for scouts.
const (
	scoutPlaces = 4
	scoutShare  = 32 // one in so many places, at most scoutPlaces
)

// withoutScouts returns how many of the places at a gateway are for what is no
// scout.
func withoutScouts(ceiling int) int { return ceiling - min(scoutPlaces, ceiling/scoutShare) }

// hangs says whether all that is out at the gateway is late.
func (g *gateway) hangs() bool { return g.late > 0 && g.late == g.inFlight }

// scoutDue says whether it is time for a scout, of which a gateway that counts as
// down has no need of besides its probes.
func (g *gateway) scoutDue(now time.Time) bool {
	if g.breaker.open {
		return g.breaker.probeDue(now)
	}
	return !now.Before(g.nextScout)
}

// sendsScout says whether a gateway without a free place gets one more request.
func (gs *gateways) sendsScout(g *gateway, now time.Time) bool {
	return g.hangs() && g.inFlight < gs.ceiling && g.scoutDue(now)
}

// putOffScout leaves a gateway that hangs alone for as long as one that is down.
func (gs *gateways) putOffScout(g *gateway, now time.Time) {
	g.nextScout = now.Add(probeLimit/2 + spread(probeLimit/2))
	gs.call(g, g.nextScout)
}
