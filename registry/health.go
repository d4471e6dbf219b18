package registry

import (
	"context"

	"poked/registry/auth"
)

// Health is the state of a registry, for metrics.
type Health struct {
	Outbox  int  // rows in the outbox: changes not yet published to NATS
	Settled bool // the last attempt to publish the outbox succeeded

	Requests []Requests // of clients, since the start, by path and status
	// Whoami is how long the homeserver took to answer about access tokens; without one
	// it is empty.
	Whoami    auth.Histogram
	Held      int    // imported users whose push rules are not fetched yet, and who are not poked
	TakenOver uint64 // pushers that were taken over from the homeserver since the start
	Reports   Reports
	// Asked are the tokens that push services took since the start, NotAsked those that could
	// not be pushed.
	Asked, NotAsked uint64
}

// Health returns the state of the registry.
func (r *Registry) Health(ctx context.Context) (h Health, err error) {
	h.Settled = r.outbox.Settled()
	if h.Outbox, err = r.store.CountOutbox(ctx); err != nil {
		return h, err
	}
	held, err := r.store.Held(ctx)
	h.Held, h.Requests, h.Reports = len(held), r.api.requests.snapshot(), r.api.reports.snapshot()
	if up := r.api.upstream; up != nil {
		h.Whoami, h.TakenOver = up.tokens.Whoami(), up.takenOver.Load()
	}
	if b := r.browsers; b != nil {
		h.Asked, h.NotAsked = b.Asked()
	}
	return h, err
}

// Unready returns the reason why the registry cannot do all of its work, or "". It
// answers clients in either case.
func (r *Registry) Unready() string {
	if why := r.store.Trouble().Why(); why != "" {
		return why
	}
	if !r.outbox.Settled() {
		return "the outbox cannot publish changes to nats"
	}
	if r.recheck != nil {
		return r.recheck.known.Unready()
	}
	return ""
}
