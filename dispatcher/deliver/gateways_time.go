package deliver

import (
	"context"
	"time"

	"poked/dispatcher/poke"
	"poked/events/wait"
)

// KeepTime does what is due at a time, until ctx ends: every SlotLength, or a few times in
// each tick of the followers if that is longer.
func (gs *Gateways) KeepTime(ctx context.Context, tickInterval time.Duration) {
	wait.Every(ctx, max(SlotLength, tickInterval/4), func(now time.Time) {
		for _, l := range gs.look(now) {
			l.wake()
		}
	})
}

// look finds late attempts, checks the gateways that are due, and returns the lanes whose
// own next try is due.
func (gs *Gateways) look(now time.Time) (due []*lane) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if gs.halted {
		gs.some.Broadcast() // the lease may be held again
	}
	gs.findLate(now)
	for p := gs.wheel.take(now); p != nil; p = gs.wheel.take(now) {
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

// findLate marks attempts that take longer than Patience as late, and starts slots in their
// place.
func (gs *Gateways) findLate(now time.Time) {
	for l := gs.out.first; l != nil; l = gs.out.first {
		g := l.node.gate
		if gs.tookSince(l.node.since, now) < Patience {
			break
		}
		l.leave()
		l.node.late = true
		g.late++
		gs.late++
		g.limit.Shrink(l.node.since, now)
		switch {
		case g.breaker.probe == l:
			g.breaker.probeFailed(l, now)
		case !g.breaker.open && g.hangs():
			g.breaker.hung(now)
		default:
			continue
		}
		gs.awaitProbe(g)
	}
	for l := gs.out.first; l != nil; l = l.node.next {
		took := gs.tookSince(l.node.since, now).Seconds()
		if took < firstAnswer {
			break
		}
		if g := l.node.gate; g.latency == 0 {
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

// tookSince returns how long a gateway has taken for a request that began at a time: what
// this process was late by is not the gateway's.
func (gs *Gateways) tookSince(began, now time.Time) time.Duration {
	return now.Sub(began) - gs.delay.since(began, now)
}

// stuck returns the live ones among the busy lanes of a deliverer that should lag, and why:
// their attempt is late, or their gateway keeps them waiting.
func (gs *Gateways) stuck(busy map[*lane]struct{}, now time.Time) map[*lane]poke.Class {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	var stuck map[*lane]poke.Class
	for l := range busy {
		if why := l.node.stuck(now); why != poke.ClassOK {
			if stuck == nil {
				stuck = map[*lane]poke.Class{}
			}
			stuck[l] = why
		}
	}
	return stuck
}

// stuck returns why a live lane should lag, or ClassOK.
func (s *node) stuck(now time.Time) poke.Class {
	g := s.gate
	switch {
	case s.late:
		return poke.ClassSlow
	case g == nil || s.in != &g.waiting[liveQueue]:
		return poke.ClassOK
	case g.latency >= slowAnswer && now.Sub(s.since) >= Patience:
		return poke.ClassSlow
	}
	return g.held(now)
}
