// Package eventstest provides what tests need besides NATS: a gateway and a homeserver over HTTP,
// values, and waiting without sleeping. Only test files import it. Package natstest has the NATS
// server.
package eventstest

import (
	"context"
	"testing"
	"time"
)

// Patience is how long a test waits for what should happen soon: so long that a machine which is
// busy with many others does not fail it.
const Patience = 5 * time.Minute

// WaitFor waits until done returns true. It checks every few milliseconds, which cost
// nothing inside a bubble, and fails the test after [Patience].
func WaitFor(t testing.TB, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			t.Fatalf("waited in vain for %s", what)
		case <-tick.C:
		}
	}
}
