package partition

import (
	"context"
	"time"
)

// Handler works through one partition. All its methods but the callbacks it
// hands out run in the follower's goroutine, one at a time.
type Handler struct {
	// Handle takes the next message: in stream order, but for those that are
	// handled again or were put off. It must not wait for a gateway.
	// [Follower.Done], [Follower.Redo] or [Follower.Resume] follows, from any
	// goroutine.
	Handle func(ctx context.Context, msg Message)
	// Tick runs every 250 ms.
	Tick func(ctx context.Context, now time.Time)
	// Lease is the worker's right to the partition: while it is not held no message
	// is handed out and no tick runs. Nil is always held.
	Lease *Lease
}
