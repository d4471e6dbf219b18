// Package wait waits: for a time, until an operation succeeds, or periodically. Each wait
// ends as soon as its context does. A [Drain] waits for outstanding work.
package wait

import (
	"context"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// RetryPause is the pause before an operation that failed is retried.
const RetryPause = 250 * time.Millisecond

// For waits for d. It returns nil after that, or the cause as soon as ctx ends.
func For(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// Until calls do until it returns nil, with a pause after each failure, and then
// returns nil. It returns the error itself if that is permanent ([backoff.Permanent]),
// and ctx's error if ctx ends first. failed is called with the first error only, so
// that an outage is logged once; it may be nil.
func Until(ctx context.Context, pause time.Duration, failed func(error), do func() error) error {
	for {
		err := do()
		if err == nil {
			return nil // nearly always, on paths where each allocation counts
		}
		permanent := new(backoff.PermanentError)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &permanent):
			return permanent.Err
		case failed != nil:
			failed(err)
			failed = nil
		}
		if For(ctx, pause) != nil {
			return ctx.Err()
		}
	}
}

// Wake wakes the goroutine that waits for c, a channel with room for one, unless a wake-up is
// pending.
func Wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Every calls do after each interval until ctx ends.
func Every(ctx context.Context, interval time.Duration, do func(now time.Time)) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			do(now)
		}
	}
}
