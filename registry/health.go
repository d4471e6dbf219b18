package registry

import (
	"context"
	"fmt"
)

// Health is how a registry stands, for whoever watches over it.
type Health struct {
	Outbox int  // rows that NATS has yet to be told of
	Told   bool // NATS was told all there was when that was last tried
}

// Health tells how the registry stands.
func (r *Registry) Health(ctx context.Context) (h Health, err error) {
	h.Told = r.outbox.settled.Load()
	if err := r.store.read.GetContext(ctx, &h.Outbox, "SELECT count(*) FROM outbox"); err != nil {
		return h, fmt.Errorf("count outbox: %w", err)
	}
	return h, nil
}

// Unready returns why the registry does not do all of its work, or "". Clients are
// answered all the same.
func (r *Registry) Unready() string {
	if why := r.store.trouble.why.Load(); why != nil {
		return *why
	}
	if !r.outbox.settled.Load() {
		return "nats has not been told what the database says: the outbox is not connected, or fails"
	}
	return ""
}
