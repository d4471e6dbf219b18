package deliver

import (
	"time"

	"poked/dispatcher/poke"
)

// Requests to a gateway that hangs keep their places until their time limit, long after the
// gateway may work again. To notice that earlier, one more request is sent now and then
// beyond the adaptive limit: an extra probe. After a quick answer the next one follows at
// once. The ceiling that the operator allows for one gateway is never exceeded: some of its
// places are reserved for extra probes.
const (
	extraProbePlaces = 4
	extraProbeShare  = 32 // one in so many places, at most extraProbePlaces
)

// withoutExtraProbes returns how many of a gateway's places are not reserved for extra
// probes.
func withoutExtraProbes(ceiling int) int {
	return ceiling - min(extraProbePlaces, ceiling/extraProbeShare)
}

// hangs reports whether everything in flight at the gateway is late.
func (g *gateway) hangs() bool { return g.late > 0 && g.late == g.inFlight }

// extraProbeDue reports whether it is time for an extra probe. A gateway that counts as down
// gets its probes instead.
func (g *gateway) extraProbeDue(now time.Time) bool {
	if g.breaker.open {
		return g.breaker.probeDue(now)
	}
	return !now.Before(g.nextExtraProbe)
}

// sendsExtraProbe reports whether a gateway without a free place gets one more request.
func (gs *Gateways) sendsExtraProbe(g *gateway, now time.Time) bool {
	return g.hangs() && g.inFlight < gs.ceiling && g.extraProbeDue(now)
}

// putOffExtraProbe schedules the next extra probe, as late as a probe of a gateway that is
// down.
func (gs *Gateways) putOffExtraProbe(g *gateway, now time.Time) {
	g.nextExtraProbe = now.Add(ProbeLimit/2 + poke.Spread(ProbeLimit/2))
	gs.checkAt(g, g.nextExtraProbe)
}
