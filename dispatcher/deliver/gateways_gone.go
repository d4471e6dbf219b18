package deliver

import (
	"context"
	"log/slog"
	"time"

	"poked/dispatcher/directory"
	"poked/dispatcher/poke"
	"poked/events"
	"poked/events/stream"
)

// If the operator wants it (--retire-after), pushers whose gateway has been gone for so long are removed
// by the registry, as those are whose pushkey is rejected, and with the reason. A gateway is gone
// while nothing answers at its address, or only errors of a server (5xx). What a gateway
// refuses, and what we do wrong ourselves, such as a VAPID key, a certificate that we do not
// trust or an address that is not allowed, retires nobody.
//
// The time is counted in steps, each between two failed probes of the gateway, and only if
// another gateway has worked in between: if none does, it is our own network. A longer gap does
// not count: nothing was sent there, or no dispatcher ran. The sum stands in the bucket GATEWAYS, so
// it outlasts dispatchers, and the first poke that the gateway takes, at whichever dispatcher,
// begins it anew.
//
// A pusher goes only when a poke of its own has just failed, or has waited for a probe in vain, and
// only if its client has not set it for as long.

const (
	goneStep = 15 * time.Minute // the least that is counted
	goneGap  = 45 * time.Minute // what is longer is not
	// ShortestRetirement is the shortest time after which pushers may be retired.
	ShortestRetirement = time.Hour
)

// absence is for how long a gateway has been gone.
type absence struct {
	events.Absence

	base   time.Time // of the stored value from which it was counted
	stored bool
}

// RetireAfter makes pushers retire whose gateway has been gone for so long. Call it before anything is
// sent.
func (gs *Gateways) RetireAfter(d time.Duration) { gs.retireAfter = d }

// isGone reports whether a try ended as it does if there is no gateway any more.
func isGone(out poke.Outcome) bool {
	switch out.Class {
	case poke.ClassDNS, poke.ClassRefused, poke.ClassReset, poke.ClassTimeout, poke.ClassNetwork, poke.ClassHTTP5xx, poke.ClassHTTP503:
		return out.Kind == poke.Retry
	default:
		return false
	}
}

// missed counts for how long a gateway has been gone whose probe has failed. The caller holds the
// mutex, as for the next two.
func (gs *Gateways) missed(g *gateway, out poke.Outcome, now time.Time) {
	if gs.retireAfter == 0 || !g.breaker.open || !isGone(out) {
		return
	}
	a := gs.absent[g.origin]
	if a == nil {
		a = &absence{Absence: events.Absence{Origin: g.origin}, stored: true}
		gs.absent[g.origin] = a
	}
	since := now.Sub(a.At)
	if since < goneStep && since >= 0 {
		return
	}
	if since > 0 && since <= goneGap && gs.workedAt.After(a.At) {
		a.Gone += int64(since / time.Second)
	}
	a.base, a.At, a.stored = a.At, now, a.Gone == 0
}

// isBack records that a gateway has taken a poke.
func (gs *Gateways) isBack(g *gateway, now time.Time) {
	gs.workedAt = now
	if a := gs.absent[g.origin]; a != nil && a.Gone > 0 {
		a.base, a.Gone, a.At, a.stored = a.At, 0, now, false
	} else if a != nil && a.stored {
		delete(gs.absent, g.origin)
	}
}

// retires reports whether the pusher of a poke that has just failed, or that was not sent because its
// gateway is down, is to be removed.
func (gs *Gateways) retires(p *directory.Pusher, out poke.Outcome, now time.Time) bool {
	if gs.retireAfter == 0 || out.Class != poke.ClassGatewayDown && !isGone(out) {
		return false
	}
	gs.mu.Lock()
	defer gs.mu.Unlock()
	g, a := gs.byOrigin[p.Origin()], gs.absent[p.Origin()]
	return g != nil && g.breaker.open && isGone(poke.Outcome{Kind: poke.Retry, Class: g.failure.Class}) &&
		a != nil && time.Duration(a.Gone)*time.Second >= gs.retireAfter && now.Sub(a.At) <= goneGap && now.Sub(gs.workedAt) <= goneGap &&
		now.Sub(time.Unix(p.PushkeyTS, 0)) >= gs.retireAfter
}

// ApplyAbsence applies what a dispatcher, perhaps this one, has stored of a gateway.
func (gs *Gateways) ApplyAbsence(stored events.Absence) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	a := gs.absent[stored.Origin]
	switch {
	case a != nil && !a.stored && a.Gone == 0: // here it works, which is about to be stored
	case stored.Gone == 0:
		delete(gs.absent, stored.Origin)
	case a == nil || stored.At.After(a.At):
		gs.absent[stored.Origin] = &absence{Absence: stored, stored: true}
	}
}

// takeAbsences returns what has yet to be stored.
func (gs *Gateways) takeAbsences() (list []absence) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	for _, a := range gs.absent {
		if !a.stored {
			a.stored = true
			list = append(list, *a)
		}
	}
	return list
}

// absenceNotStored schedules another attempt to store it, unless there is something newer.
func (gs *Gateways) absenceNotStored(of absence) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if a := gs.absent[of.Origin]; a != nil && a.At.Equal(of.At) {
		a.stored = false
	}
}

// StoreAbsences stores for how long gateways have been gone, until ctx ends. What is not stored is
// repeated.
func (gs *Gateways) StoreAbsences(ctx context.Context, conn *stream.Conn, log *slog.Logger) {
	share(ctx, nil, gs.takeAbsences, func(a absence, done func(error)) { conn.PutAbsence(a.Absence, a.base, done) }, gs.absenceNotStored,
		func(a absence, err error) {
			log.Warn("absence of a gateway not stored, trying again", "gateway", a.Origin, "error", err)
		})
}
