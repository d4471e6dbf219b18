package registry

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"
	"golang.org/x/sync/errgroup"

	"poked/events/stream"
)

const (
	outboxBatch   = 64 // rows read at once
	outboxWriters = 16 // users told at once
)

// outbox tells NATS what the database says, one batch after the other. One
// goroutine runs it.
type outbox struct {
	store *store
	conn  *stream.Conn
	log   *slog.Logger
	back  chan struct{} // NATS was away and is back

	// stale says that the buckets may hold something else than they were told.
	stale   bool
	failing bool
	settled atomic.Bool // NATS was told all there was when it was last tried
	retry   *backoff.ExponentialBackOff
}

func newOutbox(store *store, conn *stream.Conn, log *slog.Logger) *outbox {
	o := &outbox{
		store: store, conn: conn, log: log, back: make(chan struct{}, 1),
		stale: true, // a bucket or the database may have been lost or restored
		retry: backoff.NewExponentialBackOff(
			backoff.WithInitialInterval(250*time.Millisecond),
			backoff.WithMaxInterval(5*time.Second),
			backoff.WithMaxElapsedTime(0),
		),
	}
	conn.OnReconnect(func() { wake(o.back) })
	return o
}

// run tells NATS until ctx ends, and then returns nil: what is left is told at
// the next start.
func (o *outbox) run(ctx context.Context) error {
	for ctx.Err() == nil {
		err := o.settle(ctx)
		if ctx.Err() == nil {
			o.wait(ctx, o.outcome(err))
		}
	}
	return nil
}

// settle empties the outbox, after bringing the buckets to what the database
// says if there is doubt.
func (o *outbox) settle(ctx context.Context) error {
	if o.stale {
		for _, b := range []bucket{inPushers, inPushRules} {
			if err := o.reconcile(ctx, b); err != nil {
				return err
			}
		}
		o.stale = false
	}
	for {
		more, err := o.tellBatch(ctx)
		if err != nil || !more {
			return err
		}
	}
}

// tellBatch tells NATS the head of the outbox. Users who could not be told stay
// in it, and do not keep the others.
func (o *outbox) tellBatch(ctx context.Context) (more bool, err error) {
	head, err := o.store.Owed(ctx, outboxBatch)
	if err != nil || len(head.values) == 0 {
		return false, err
	}
	errs := make([]error, len(head.values))
	var group errgroup.Group
	group.SetLimit(outboxWriters)
	for i := range head.values {
		group.Go(func() error {
			errs[i] = head.values[i].put(ctx, o.conn)
			return nil
		})
	}
	_ = group.Wait() // the errors are in errs
	var told []value
	for i := range head.values {
		if errs[i] == nil {
			told = append(told, head.values[i])
		}
	}
	failed := firstError(errs)
	return failed == nil, errors.Join(failed, o.store.Told(ctx, told, head.upTo))
}

// firstError returns one of many that mostly say the same.
func firstError(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// outcome logs the beginning and the end of a failure and returns how long to
// wait at most before the next try; nil means until there is something to do.
func (o *outbox) outcome(err error) <-chan time.Time {
	o.settled.Store(err == nil)
	if err == nil {
		if o.failing {
			o.log.Info("nats has been told of everything again")
		}
		o.failing = false
		o.retry.Reset()
		return nil
	}
	if !o.failing {
		o.log.Warn("cannot tell nats what changed, trying until it works", "error", err)
	}
	// Whatever failed may have lost the buckets.
	o.failing, o.stale = true, true
	return time.After(o.retry.NextBackOff())
}

// wait returns when there is something to do. After a failure new rows are no
// reason to hurry; that NATS is back is.
func (o *outbox) wait(ctx context.Context, retry <-chan time.Time) {
	owed := o.store.owed
	if retry != nil {
		owed = nil
	}
	select {
	case <-ctx.Done():
	case <-owed:
	case <-retry:
	case <-o.back:
		o.stale = true
		o.retry.Reset()
	}
}
