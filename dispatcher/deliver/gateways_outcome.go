package deliver

import (
	"time"

	"poked/dispatcher/poke"
)

// report records the outcome of an attempt that began at a time: it frees the lane's place
// and adapts the gateway's limit, breaker and pause. Known tells that the lane has failed
// by itself before.
func (gs *Gateways) report(l *lane, known bool, out poke.Outcome, began, now time.Time) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	g := l.node.gate
	full, probe := g.inFlight-g.late >= g.limit.Places(), g.breaker.probe == l
	gs.vacate(l, now)
	took := now.Sub(began)
	switch {
	case !out.Asked():
	case out.Works():
		sample(&g.latency, took.Seconds())
		sample(&g.errorRate, 0)
		gs.worked(g, full && took < Patience, now)
	default:
		if out.Status != 0 {
			sample(&g.latency, took.Seconds())
		}
		sample(&g.errorRate, 1)
		g.failure = out.Failure()
		if out.Overload() {
			g.limit.Shrink(began, now)
		}
		gs.pause(g, now.Add(out.RetryAfter), now)
		gs.announce(g, now)
		gs.failed(g, l, known, probe, out, now)
	}
	gs.admit(g, now)
}

// worked records a success. A gateway that was down gets few requests at first.
func (gs *Gateways) worked(g *gateway, grow bool, now time.Time) {
	if g.breaker.worked(now) {
		g.limit.Restart(g.limit.Ceiling, now)
		g.recovering = true
	} else if grow {
		g.limit.Grow()
	}
	if g.waiting[behindQueue].n+g.waiting[failedQueue].n == 0 || g.limit.Value >= g.limit.Ceiling {
		g.recovering = false
	}
}

// failed records a failure. One of kind Slow is no sign that the gateway is down, but as the
// outcome of a probe no sign either that it works again.
func (gs *Gateways) failed(g *gateway, l *lane, known, probe bool, out poke.Outcome, now time.Time) {
	switch b := &g.breaker; {
	case probe:
		b.probeFailed(l, now)
	case out.Kind == poke.Slow || !b.failed(known, now):
		return
	}
	gs.checkAt(g, g.breaker.nextProbe)
}

// allows returns why a lane that has a place must not send a poke to an origin, or ClassOK.
func (gs *Gateways) allows(l *lane, origin string, now time.Time) poke.Class {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	g := l.node.gate
	if g.origin != origin {
		return poke.ClassMoved // since it was submitted: its place is at another gateway
	}
	return g.allows(l, now)
}
