package dispatcher

import (
	"context"
	"time"

	"poked/events"
)

// pause leaves a gateway alone until a time, if that is later than now and than
// any it has asked for before. After that it gets few requests at first.
func (gs *gateways) pause(g *gateway, until, now time.Time) {
	if !until.After(now) || !until.After(g.pausedUntil) {
		return
	}
	g.pausedUntil = until
	g.limit.restart(g.limit.value, now)
	g.recovering = true
	gs.call(g, until)
}

// restored takes in what the last worker knew of a gateway where somebody lags:
// since when, and until when it asked to be left alone.
func (gs *gateways) restored(g *gateway, since, pausedUntil time.Time) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if since.Before(g.breaker.wellAt) {
		g.breaker.wellAt = since
	}
	gs.pause(g, pausedUntil, time.Now())
}

// pausedUntil returns until when a gateway asked to be left alone, or the zero
// time.
func (gs *gateways) pausedUntil(g *gateway) time.Time {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if time.Now().Before(g.pausedUntil) {
		return g.pausedUntil
	}
	return time.Time{}
}

// down says whether nothing but probes is sent to a gateway, and until when
// nothing at all.
func (gs *gateways) down(g *gateway, now time.Time) (until time.Time, down bool) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if g.breaker.open {
		until = g.breaker.nextProbe
	}
	if g.pausedUntil.After(until) {
		until = g.pausedUntil
	}
	return until, g.shut(now) != ""
}

// tell has the other dispatchers hear of a pause. It ends for them at a full second
// so that answers which come together, each with a pause that ends a little later
// than the last, are told once.
func (gs *gateways) tell(g *gateway, now time.Time) {
	if !g.pausedUntil.After(now) || !g.pausedUntil.After(g.pauseTold) {
		return
	}
	until := g.pausedUntil.Truncate(time.Second).Add(time.Second)
	select {
	case gs.told <- events.Pause{Origin: g.origin, Until: until}:
		g.pauseTold = until
	default: // the next answer tells it
	}
}

// toldQueue is how many pauses may wait to be told.
const toldQueue = 64

// sharePauses has all dispatchers hear of the pauses that this one is asked for,
// until ctx ends. If one is not stored each of them finds out with a poke of its own.
func (d *Dispatcher) sharePauses(ctx context.Context, told <-chan events.Pause) {
	for {
		select {
		case <-ctx.Done():
			return
		case p := <-told:
			d.conn.PutPause(p, func(err error) {
				if err != nil {
					d.log.Warn("pause of a gateway not shared", "gateway", p.Origin, "error", err)
				}
			})
		}
	}
}

// heard takes in that a dispatcher, perhaps this one, was asked to leave a gateway
// alone.
func (gs *gateways) heard(p events.Pause) {
	now := time.Now()
	until := p.Until
	if longest := now.Add(maxRetryAfter + time.Second); until.After(longest) {
		until = longest // its clock is another
	}
	if !until.After(now) {
		return
	}
	gs.mu.Lock()
	defer gs.mu.Unlock()
	g := gs.at(p.Origin, now)
	if until.After(g.pauseTold) {
		g.pauseTold = until
	}
	gs.pause(g, until, now)
}
