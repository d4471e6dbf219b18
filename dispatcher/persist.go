package dispatcher

import (
	"context"
	"time"
)

// retryPause is the wait between tries of something that only a working NATS
// can do.
const retryPause = 250 * time.Millisecond

// persist calls do until it succeeds or ctx ends, whose error it then returns.
// It is for reads without which a partition cannot go on: what comes after must
// not overtake. failed hears of the first failure only.
func persist(ctx context.Context, failed func(error), do func() error) error {
	for first := true; ; first = false {
		err := do()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if first {
			failed(err)
		}
		waitFor(ctx, retryPause)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// every calls do again and again until ctx ends.
func every(ctx context.Context, interval time.Duration, do func(now time.Time)) {
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

// waitFor returns after a pause, or when ctx ends.
func waitFor(ctx context.Context, pause time.Duration) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
