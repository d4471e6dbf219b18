package partition

import (
	"context"
	"time"
)

// Handler processes one partition. All its functions run in the follower's goroutine, one
// at a time.
type Handler struct {
	// Handle receives the next message, in stream order except for messages that are
	// handled again or were deferred. It must not wait for a gateway. A call of
	// [Follower.Done], [Follower.Redo] or [Follower.Resume] must follow, from any
	// goroutine.
	Handle func(ctx context.Context, msg Message)
	// Tick runs every 250 ms.
	Tick func(ctx context.Context, now time.Time)
	// Lease is the worker's right to the partition. While it is not held, neither Handle
	// nor Tick is called. A nil Lease is always held.
	Lease *Lease
}
