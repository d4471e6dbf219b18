package deliver

import (
	"time"

	"poked/dispatcher/poke"
)

// Requests to a gateway that hangs keep their places until their time limit,
// long after it may be well again. So that this is noticed before, one more
// request is made now and then beyond the limit that the gateway has shown to
// bear: a scout. One that is answered quickly is followed by the next at once.
// What the operator allows for one gateway is never exceeded: some of its places
// are left for scouts.
const (
	extraProbePlaces = 4
	extraProbeShare  = 32 // one in so many places, at most scoutPlaces
)

// withoutExtraProbes returns how many of the places at a gateway are for what is no
// scout.
func withoutExtraProbes(ceiling int) int {
	return ceiling - min(extraProbePlaces, ceiling/extraProbeShare)
}

// hangs says whether all that is out at the gateway is late.
func (g *gateway) hangs() bool { return g.late > 0 && g.late == g.inFlight }

// extraProbeDue says whether it is time for a scout, of which a gateway that counts as
// down has no need of besides its probes.
func (g *gateway) extraProbeDue(now time.Time) bool {
	if g.breaker.open {
		return g.breaker.probeDue(now)
	}
	return !now.Before(g.nextExtraProbe)
}

// sendsExtraProbe says whether a gateway without a free place gets one more request.
func (gs *Gateways) sendsExtraProbe(g *gateway, now time.Time) bool {
	return g.hangs() && g.inFlight < gs.ceiling && g.extraProbeDue(now)
}

// putOffExtraProbe leaves a gateway that hangs alone for as long as one that is down.
func (gs *Gateways) putOffExtraProbe(g *gateway, now time.Time) {
	g.nextExtraProbe = now.Add(ProbeLimit/2 + poke.Spread(ProbeLimit/2))
	gs.call(g, g.nextExtraProbe)
}
