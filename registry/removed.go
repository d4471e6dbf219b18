package registry

import (
	"context"

	"poked/events/operator"
)

// serveOperators answers operators about removed pushers until ctx ends. Clients do not need
// it.
func (r *Registry) serveOperators(ctx context.Context) {
	var said string
	operator.ServeRemovals(ctx, r.conn, r.store.RemovalsBefore, func(err error) {
		if err != nil && said != err.Error() { // log each reason once
			said = err.Error()
			r.log.Warn("operators get no answer, trying until they do", "error", err)
		}
	})
}
