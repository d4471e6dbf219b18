package deliver

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"poked/dispatcher/poke"
	"poked/events"
	"poked/events/stream"
	"poked/events/wait"
)

// pause stops requests to a gateway until a time, unless it is paused for longer already.
// After that it gets few requests at first.
func (gs *Gateways) pause(g *gateway, until, now time.Time) {
	// By the monotonic clock, and no later than a gateway may ask for: the time may be of
	// another dispatcher, whose clock is ahead.
	until = now.Add(min(until.Sub(now), poke.MaxRetryAfter+time.Second))
	if !until.After(now) || !until.After(g.pausedUntil) {
		return
	}
	if !now.Before(g.pausedUntil) { // else it is paused already, and the pause grows
		g.limit.Restart(g.limit.Value, now)
		g.pausedAt = now
	}
	g.pausedUntil, g.recovering = until, true
	gs.checkAt(g, until)
}

// restored applies what a record contains about the gateway of a lagging lane: since when it lags,
// and until when the gateway is paused.
func (gs *Gateways) restored(g *gateway, since, pausedUntil time.Time) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if since.Before(g.breaker.wellAt) {
		g.breaker.wellAt = since
	}
	gs.pause(g, pausedUntil, time.Now())
}

// pausedUntil returns until when a gateway is paused, or the zero time.
func (gs *Gateways) pausedUntil(g *gateway) time.Time {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if time.Now().Before(g.pausedUntil) {
		return g.pausedUntil
	}
	return time.Time{}
}

// down reports whether only probes are sent to a gateway, and until when nothing at all.
func (gs *Gateways) down(g *gateway, now time.Time) (until time.Time, down bool) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if g.breaker.open {
		until = g.breaker.nextProbe
	}
	if g.pausedUntil.After(until) {
		until = g.pausedUntil
	}
	return until, g.shut(now) != poke.ClassOK
}

// unsharedPause reports whether a gateway is paused for longer than the other dispatchers
// know.
func (g *gateway) unsharedPause(now time.Time) bool {
	return g.pausedUntil.After(now) && g.pausedUntil.After(g.pauseShared)
}

// announce shares a pause with the other dispatchers at once.
func (gs *Gateways) announce(g *gateway, now time.Time) {
	if !g.unsharedPause(now) {
		return
	}
	gs.unshared[g] = struct{}{}
	wait.Wake(gs.announced)
}

// takeUnshared returns the pauses that have yet to be shared. For the other dispatchers a
// pause ends at a full second, so that responses which arrive together, each with a pause
// that ends a little later, are shared once. A pause that ends at a full second is not made
// longer, or dispatchers would repeat each other's pauses for ever.
func (gs *Gateways) takeUnshared(now time.Time) (pauses []events.Pause) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	for g := range gs.unshared {
		if g.unsharedPause(now) {
			g.pauseShared = g.pausedUntil.Add(time.Second - 1).Truncate(time.Second)
			pauses = append(pauses, events.Pause{Origin: g.origin, Until: g.pauseShared})
		}
	}
	clear(gs.unshared)
	return pauses
}

// notShared schedules another attempt to share a pause.
func (gs *Gateways) notShared(p events.Pause) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if g := gs.byOrigin[p.Origin]; g != nil {
		g.pauseShared = time.Time{}
		gs.unshared[g] = struct{}{}
	}
}

// ApplyPause applies a pause that a dispatcher, perhaps this one, has shared. If the gateway is
// paused for longer here, this dispatcher shares that again within ShareAgain: a dispatcher
// that starts later reads only the last value.
func (gs *Gateways) ApplyPause(p events.Pause) {
	now := time.Now()
	gs.mu.Lock()
	defer gs.mu.Unlock()
	g := gs.byOrigin[p.Origin]
	if g == nil && p.Until.After(now) {
		g = gs.at(p.Origin, now)
	}
	if g == nil {
		return
	}
	g.pauseShared = p.Until
	gs.pause(g, p.Until, now)
	if g.unsharedPause(now) {
		gs.unshared[g] = struct{}{}
	}
}

// ShareAgain is how soon a pause is shared again that was not stored, or was overwritten by
// a shorter one.
const ShareAgain = time.Second

// SharePauses shares the pauses that gateways ask this dispatcher for with all dispatchers,
// until ctx ends. What is not stored is repeated while the pause lasts.
func (gs *Gateways) SharePauses(ctx context.Context, conn *stream.Conn, log *slog.Logger) {
	share(ctx, gs.announced, func() []events.Pause { return gs.takeUnshared(time.Now()) }, conn.PutPause, gs.notShared,
		func(p events.Pause, err error) {
			log.Warn("pause of a gateway not shared, trying again", "gateway", p.Origin, "error", err)
		})
}

// share stores what take returns, each second and at once after announced, until ctx ends. What was
// not stored is given to failed, to be taken again, and the first failure after a success to warn.
func share[T any](ctx context.Context, announced <-chan struct{}, take func() []T, put func(T, func(error)), failed func(T), warn func(T, error)) {
	again := time.NewTicker(ShareAgain)
	defer again.Stop()
	var failing atomic.Bool
	for {
		for _, one := range take() {
			put(one, func(err error) {
				if err != nil {
					failed(one)
				}
				if was := failing.Swap(err != nil); err != nil && !was {
					warn(one, err)
				}
			})
		}
		select {
		case <-ctx.Done():
			return
		case <-announced:
		case <-again.C:
		}
	}
}
