package deliver

import (
	"time"

	"poked/dispatcher/directory"
	"poked/dispatcher/poke"
)

// report records the outcome of an attempt that began at a time: it frees the lane's place
// and adapts the gateway's limit, breaker and pause.
func (gs *Gateways) report(l *lane, p *outgoing, out poke.Outcome, began, now time.Time) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	g := l.node.gate
	full, probe := g.inFlight-g.late >= g.limit.Places(), g.breaker.probe == l
	gs.vacate(l, now)
	own := gs.delay.since(began, now)
	took := now.Sub(began) - own // by the gateway
	switch {
	case !out.Asked():
	case out.OfPusher():
		sample(&g.latency, took.Seconds())
	case out.Works():
		sample(&g.latency, took.Seconds())
		sample(&g.errorRate, 0)
		gs.worked(g, full && took < Patience, now)
		g.tookPoke(p, now)
		if out.Kind == poke.Delivered {
			g.payload.took(p, now)
		}
		g.noteLate(p, began, now)
	case out.Class == poke.ClassTimeout && own > took:
		// Its time was over before this process looked for the answer.
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
		gs.failed(g, l, p.known && out.Class != poke.ClassVAPID, probe, out, now)
		gs.missed(g, out, now)
	}
	gs.admit(g, now)
}

// worked records a success. A gateway that was down gets few requests at first.
func (gs *Gateways) worked(g *gateway, grow bool, now time.Time) {
	gs.isBack(g, now)
	if well := g.breaker.wellAt; g.breaker.worked(now) {
		gs.probeOthers(well, now)
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
	gs.awaitProbe(g)
}

// awaitProbe schedules the next probe of a gateway that is down.
func (gs *Gateways) awaitProbe(g *gateway) {
	gs.checkAt(g, g.breaker.nextProbe)
	if g.breaker.mayHurry && !g.listed {
		g.listed = true
		gs.unwell = append(gs.unwell, g)
	}
}

// probeOthers probes at once the gateways that went down since one worked last that works
// again now: the cause may have been the same, such as the network between, and may be over
// for all. If such a probe fails, the next one follows the schedule, so a gateway that stays
// down gets twice as many at most.
func (gs *Gateways) probeOthers(well, now time.Time) {
	kept := gs.unwell[:0]
	for _, g := range gs.unwell {
		switch {
		case g.breaker.open && g.breaker.openedAt.Before(well):
			kept = append(kept, g)
			continue
		case g.breaker.open:
			g.breaker.probeSoon(now)
			gs.checkAt(g, g.breaker.nextProbe)
		}
		g.listed = false
	}
	clear(gs.unwell[len(kept):])
	gs.unwell = kept
}

// allows returns why a lane that has a place must not send a poke, or ClassOK, and limits what is in
// the poke. A lane that looks past a refusal has been allowed to send a moment before.
func (gs *Gateways) allows(l *lane, p *outgoing, now time.Time) poke.Class {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	g := l.node.gate
	if g.origin != p.pusher.Origin() {
		return poke.ClassMoved // since it was submitted: its place is at another gateway
	}
	p.limit = g.payload.limit(now)
	if why := g.shut(now); why != poke.ClassGatewayDown || g.breaker.probe != l && len(p.past) == 0 {
		return why
	}
	return poke.ClassOK
}

// app is the pushers of one app at one address.
type app struct{ id, url string }

func appOf(p *directory.Pusher) app { return app{p.AppID, p.URL.String()} }

// appsLimit bounds the apps of a gateway of which it remembers when it took a poke.
const appsLimit = 256

// tookOf returns when the lane's gateway took a poke of an app last, or the zero time. It
// remembers that from when it is first asked.
func (gs *Gateways) tookOf(l *lane, of app) time.Time {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	g := l.node.gate
	if g.took == nil {
		g.took = map[app]time.Time{}
	}
	if _, asked := g.took[of]; !asked && len(g.took) < appsLimit {
		g.took[of] = time.Time{}
	}
	return g.took[of]
}

// tookPoke records that the gateway has taken a poke.
func (g *gateway) tookPoke(p *outgoing, now time.Time) {
	if len(g.took) == 0 {
		return // it refuses nothing
	}
	of := appOf(p.pusher)
	if _, asked := g.took[of]; asked {
		g.took[of] = now
	}
}
