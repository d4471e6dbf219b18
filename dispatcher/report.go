package dispatcher

import (
	"context"
	"time"

	"poked/events/wait"
)

// report takes in how an attempt went that began at a time: the lane's place is
// free again, and the gateway gets more or less. Known is a lane that has failed
// before by itself.
func (gs *gateways) report(l *lane, known bool, out outcome, began, now time.Time) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	g := l.spot.gate
	full, probe := g.inFlight >= g.limit.places(), g.breaker.probe == l
	gs.vacate(l, now)
	took := now.Sub(began)
	switch {
	case !out.asked():
	case out.works():
		sample(&g.latency, took.Seconds())
		sample(&g.errorRate, 0)
		if took < patience {
			g.nextScout = time.Time{} // if it hung, it does so no more
		}
		gs.worked(g, full && took < patience, now)
	default:
		if out.status != 0 {
			sample(&g.latency, took.Seconds())
		}
		sample(&g.errorRate, 1)
		g.lastError = out.class
		if out.overload() {
			g.limit.shrink(began, now)
		}
		gs.pause(g, now.Add(out.retryAfter), now)
		gs.tell(g, now)
		gs.failed(g, l, known, probe, out, now)
	}
	gs.admit(g, now)
}

// worked takes in a success. A gateway that was down gets few requests at first.
func (gs *gateways) worked(g *gateway, grow bool, now time.Time) {
	if g.breaker.worked(now) {
		g.limit.restart(g.limit.ceiling, now)
		g.recovering = true
	} else if grow {
		g.limit.grow()
	}
	if g.waiting[behindLine].n+g.waiting[failedLine].n == 0 || g.limit.value >= g.limit.ceiling {
		g.recovering = false
	}
}

// failed takes in a failure. The slow class is no sign that the gateway is down,
// but neither is it that of a probe that it is well again.
func (gs *gateways) failed(g *gateway, l *lane, known, probe bool, out outcome, now time.Time) {
	switch b := &g.breaker; {
	case probe:
		b.probeFailed(l, now)
	case out.kind == outcomeSlow || !b.failed(known, now):
		return
	}
	gs.call(g, g.breaker.nextProbe)
}

// allows says why a poke for an origin may not be sent by a lane that has a
// place, or "".
func (gs *gateways) allows(l *lane, origin string, now time.Time) string {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	g := l.spot.gate
	if g.origin != origin {
		return "moved" // since it was submitted; its place is at another gateway
	}
	return g.allows(l, now)
}

// keepTime does what has its time until ctx ends, whatever partitions are owned: as
// exactly as the calendar is kept, or a few times in each tick of the followers.
func (gs *gateways) keepTime(ctx context.Context, tickInterval time.Duration) {
	wait.Every(ctx, max(pageLength, tickInterval/4), func(now time.Time) {
		for _, l := range gs.look(now) {
			l.wake()
		}
	})
}

// look finds the attempts that take longer than patience, and what the calendar
// says. It returns the lanes whose own next try has come.
func (gs *gateways) look(now time.Time) (due []*lane) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if gs.halted {
		gs.some.Broadcast() // the lease may be held again
	}
	gs.findLate(now)
	for p := gs.calendar.take(now); p != nil; p = gs.calendar.take(now) {
		for l := p.lanes.first; l != nil; l = p.lanes.first {
			l.leave()
			due = append(due, l)
		}
		for _, g := range p.gates {
			gs.check(g, now)
		}
	}
	return due
}

// findLate takes attempts that are late out of those that are out, and starts
// slots in their place.
func (gs *gateways) findLate(now time.Time) {
	for l := gs.out.first; l != nil; l = gs.out.first {
		g, took := l.spot.gate, now.Sub(l.spot.since)
		if took < patience {
			break
		}
		l.leave()
		l.spot.late = true
		g.late++
		gs.late++
		g.limit.shrink(l.spot.since, now)
		if g.hangs() && !g.nextScout.After(now) {
			gs.putOffScout(g, now)
		}
		if g.breaker.probe == l {
			g.breaker.probeFailed(l, now)
			gs.call(g, g.breaker.nextProbe)
		}
	}
	for l := gs.out.first; l != nil; l = l.spot.next {
		took := now.Sub(l.spot.since).Seconds()
		if took < firstAnswer {
			break
		}
		if g := l.spot.gate; g.latency == 0 {
			g.latency = took
		}
	}
	for range min(gs.ready.n-gs.idle, gs.slots+gs.late-gs.started) {
		if !gs.closed {
			gs.started++
			gs.spawn(gs.slot)
		}
	}
}

// stuck returns the live lanes among the busy ones of a deliverer that had better
// lag, with the reason: their attempt is late, or they wait at a gateway that
// makes them wait.
func (gs *gateways) stuck(busy map[*lane]struct{}, now time.Time) map[*lane]string {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	var stuck map[*lane]string
	for l := range busy {
		if why := l.spot.stuck(now); why != "" {
			if stuck == nil {
				stuck = map[*lane]string{}
			}
			stuck[l] = why
		}
	}
	return stuck
}

func (s *spot) stuck(now time.Time) string {
	g := s.gate
	switch {
	case s.late:
		return heldSlow
	case g == nil || s.in != &g.waiting[liveLine]:
		return ""
	case g.latency >= slowAnswer && now.Sub(s.since) >= patience:
		return heldSlow
	}
	return g.held(now)
}
