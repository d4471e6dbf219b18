// Package wait waits: for a time, until an operation succeeds, or periodically. Each wait
// ends as soon as its context does. A [Drain] waits for outstanding work.
package wait

import (
	"context"
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
	notify := func(err error, _ time.Duration) {
		if failed != nil {
			failed(err)
			failed = nil
		}
	}
	return backoff.RetryNotify(func() error {
		err := do()
		if err != nil && ctx.Err() != nil {
			return backoff.Permanent(ctx.Err())
		}
		return err //nolint:wrapcheck // it is the caller's own
	}, backoff.WithContext(backoff.NewConstantBackOff(pause), ctx), notify)
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
