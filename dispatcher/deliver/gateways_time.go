package deliver

import (
	"context"
	"time"

	"poked/dispatcher/poke"
	"poked/events/wait"
)

// KeepTime does what has its time until ctx ends, whatever partitions are owned: as
// exactly as the calendar is kept, or a few times in each tick of the followers.
func (gs *Gateways) KeepTime(ctx context.Context, tickInterval time.Duration) {
	wait.Every(ctx, max(SlotLength, tickInterval/4), func(now time.Time) {
		for _, l := range gs.look(now) {
			l.wake()
		}
	})
}

// look finds the attempts that take longer than patience, and what the calendar
// says. It returns the lanes whose own next try has come.
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

// findLate takes attempts that are late out of those that are out, and starts
// slots in their place.
func (gs *Gateways) findLate(now time.Time) {
	for l := gs.out.first; l != nil; l = gs.out.first {
		g, took := l.node.gate, now.Sub(l.node.since)
		if took < Patience {
			break
		}
		l.leave()
		l.node.late = true
		g.late++
		gs.late++
		g.limit.Shrink(l.node.since, now)
		if g.hangs() && !g.nextExtraProbe.After(now) {
			gs.putOffExtraProbe(g, now)
		}
		if g.breaker.probe == l {
			g.breaker.probeFailed(l, now)
			gs.call(g, g.breaker.nextProbe)
		}
	}
	for l := gs.out.first; l != nil; l = l.node.next {
		took := now.Sub(l.node.since).Seconds()
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

// stuck returns the live lanes among the busy ones of a deliverer that had better
// lag, with the reason: their attempt is late, or they wait at a gateway that
// makes them wait.
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
