package registry

import (
	"context"
	"fmt"
)

// Health is the state of a registry, for metrics.
type Health struct {
	Outbox  int  // rows in the outbox: changes not yet published to NATS
	Settled bool // the last attempt to publish the outbox succeeded
}

// Health returns the state of the registry.
func (r *Registry) Health(ctx context.Context) (h Health, err error) {
	h.Settled = r.outbox.settled.Load()
	if err := r.store.read.GetContext(ctx, &h.Outbox, "SELECT count(*) FROM outbox"); err != nil {
		return h, fmt.Errorf("count outbox: %w", err)
	}
	return h, nil
}

// Unready returns the reason why the registry cannot do all of its work, or "". It
// answers clients in either case.
func (r *Registry) Unready() string {
	if why := r.store.trouble.why.Load(); why != nil {
		return *why
	}
	if !r.outbox.settled.Load() {
		return "the outbox cannot publish changes to nats"
	}
	if r.recheck != nil {
		return r.recheck.known.Unready()
	}
	return ""
}
