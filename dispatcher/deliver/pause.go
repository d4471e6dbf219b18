package deliver

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"poked/dispatcher/poke"
	"poked/events"
	"poked/events/stream"
)

// pause leaves a gateway alone until a time, if that is later than now and than
// any it has asked for before. After that it gets few requests at first.
func (gs *Gateways) pause(g *gateway, until, now time.Time) {
	// By the clock that never jumps, and no later than any gateway may ask for: it may be
	// the time of another dispatcher, whose clock is ahead.
	until = now.Add(min(until.Sub(now), poke.MaxRetryAfter+time.Second))
	if !until.After(now) || !until.After(g.pausedUntil) {
		return
	}
	if !now.Before(g.pausedUntil) { // else it is a pause already, that only grows
		g.limit.Restart(g.limit.Value, now)
	}
	g.pausedUntil, g.recovering = until, true
	gs.call(g, until)
}

// restored takes in what the last worker knew of a gateway where somebody lags:
// since when, and until when it asked to be left alone.
func (gs *Gateways) restored(g *gateway, since, pausedUntil time.Time) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if since.Before(g.breaker.wellAt) {
		g.breaker.wellAt = since
	}
	gs.pause(g, pausedUntil, time.Now())
}

// pausedUntil returns until when a gateway asked to be left alone, or the zero
// time.
func (gs *Gateways) pausedUntil(g *gateway) time.Time {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if time.Now().Before(g.pausedUntil) {
		return g.pausedUntil
	}
	return time.Time{}
}

// down says whether nothing but probes is sent to a gateway, and until when
// nothing at all.
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

// unsharedPause says whether a gateway is paused for longer than the other dispatchers
// know of.
func (g *gateway) unsharedPause(now time.Time) bool {
	return g.pausedUntil.After(now) && g.pausedUntil.After(g.pauseShared)
}

// announce has the other dispatchers hear of a pause at once.
func (gs *Gateways) announce(g *gateway, now time.Time) {
	if !g.unsharedPause(now) {
		return
	}
	gs.unshared[g] = struct{}{}
	select {
	case gs.announced <- struct{}{}:
	default: // who tells has been called already
	}
}

// takeUnshared returns the pauses that the others are to hear of. One ends for them at
// a full second, so that answers which come together, each with a pause that ends a
// little later than the last, are told once. One that did so already is not made
// longer: dispatchers that say it after each other would never come to an end.
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

// notShared has a pause told again.
func (gs *Gateways) notShared(p events.Pause) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if g := gs.byOrigin[p.Origin]; g != nil {
		g.pauseShared = time.Time{}
		gs.unshared[g] = struct{}{}
	}
}

// Heard takes in that a dispatcher, perhaps this one, was asked to leave a gateway
// alone. One that was asked for longer says so again, unless within tellAgain
// another does: what is written last is all that a dispatcher hears which comes later.
func (gs *Gateways) Heard(p events.Pause) {
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

// ShareAgain is how soon a pause is told again that was not stored, or is hidden.
const ShareAgain = time.Second

// SharePauses tells all dispatchers of the pauses that this one is asked for, until
// ctx ends. What is not stored is told again while the pause lasts.
func (gs *Gateways) SharePauses(ctx context.Context, conn *stream.Conn, log *slog.Logger) {
	again := time.NewTicker(ShareAgain)
	defer again.Stop()
	var failing atomic.Bool
	for {
		for _, p := range gs.takeUnshared(time.Now()) {
			conn.PutPause(p, func(err error) {
				if err != nil {
					gs.notShared(p)
				}
				if was := failing.Swap(err != nil); err != nil && !was {
					log.Warn("pause of a gateway not shared, telling it again", "gateway", p.Origin, "error", err)
				}
			})
		}
		select {
		case <-ctx.Done():
			return
		case <-gs.announced:
		case <-again.C:
		}
	}
}
