package registry

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"
	"golang.org/x/sync/errgroup"

	"poked/events"
	"poked/events/stream"
)

const (
	outboxBatch   = 64 // rows read at once
	outboxWriters = 16 // values written at once
)

// outbox publishes changes of the database to NATS, batch by batch. One goroutine runs
// it.
type outbox struct {
	store *store
	conn  *stream.Conn
	log   *slog.Logger
	back  chan struct{} // signals that the connection to NATS was restored

	// stale is set when the buckets may differ from what was written to them.
	stale   bool
	failing bool
	settled atomic.Bool // the last attempt published everything

	mu    sync.Mutex
	next  chan struct{} // closed when the next batch was published
	retry *backoff.ExponentialBackOff
}

func newOutbox(store *store, conn *stream.Conn, log *slog.Logger) *outbox {
	o := &outbox{
		store: store, conn: conn, log: log, back: make(chan struct{}, 1),
		next:  make(chan struct{}),
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

// run publishes changes until ctx ends, and then returns nil. The next start publishes
// what is left.
func (o *outbox) run(ctx context.Context) error {
	for ctx.Err() == nil {
		err := o.settle(ctx)
		if ctx.Err() == nil {
			o.wait(ctx, o.outcome(err))
		}
	}
	return nil
}

// settle empties the outbox. If the buckets may differ from the database it compares
// them first.
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
		more, err := o.publishBatch(ctx)
		if err != nil || !more {
			return err
		}
	}
}

// publishBatch publishes the head of the outbox. Values that could not be written stay
// in it and do not block the others.
func (o *outbox) publishBatch(ctx context.Context) (more bool, err error) {
	head, err := o.store.Pending(ctx, outboxBatch)
	if err != nil || len(head.values) == 0 {
		return false, err
	}
	errs := make([]error, len(head.values))
	for _, b := range []bucket{inPushRules, inPushers} { // a new pusher must not come before its user's rules
		var group errgroup.Group
		group.SetLimit(outboxWriters)
		for i := range head.values {
			if head.values[i].bucket != b {
				continue
			}
			group.Go(func() error {
				errs[i] = head.values[i].put(ctx, o.conn)
				return nil
			})
		}
		_ = group.Wait() // the errors are in errs
	}
	var published []value
	for i := range head.values {
		if errs[i] == nil {
			published = append(published, head.values[i])
		}
	}
	failed := firstError(errs)
	if len(published) > 0 { // a client has its answer when no later event can be matched without its change
		err = o.conn.PublishBarrier(ctx)
	}
	if err == nil {
		err = o.store.Published(ctx, published, head.upTo)
	}
	o.mu.Lock()
	close(o.next)
	o.next = make(chan struct{})
	o.mu.Unlock()
	return failed == nil, errors.Join(failed, err)
}

// publishedWithin bounds how long a client waits for NATS after its change is on disk.
const publishedWithin = 3 * time.Second

// await returns once all changes of a user are published, so that they are in effect for
// events that the homeserver publishes after the client has its answer. It does not wait while
// NATS is away, and no longer than publishedWithin.
func (o *outbox) await(ctx context.Context, user events.UserID) {
	ctx, cancel := context.WithTimeout(ctx, publishedWithin)
	defer cancel()
	for o.settled.Load() {
		o.mu.Lock()
		next := o.next
		o.mu.Unlock()
		if pending, err := o.store.IsPending(ctx, user); err != nil || !pending {
			return // the change is on disk in any case
		}
		select {
		case <-next:
		case <-ctx.Done():
			return
		}
	}
}

// firstError returns the first error of a list; the others are usually the same.
func firstError(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// outcome logs the beginning and the end of a failure. It returns a timer for the next
// retry, or nil if there is nothing to retry.
func (o *outbox) outcome(err error) <-chan time.Time {
	o.settled.Store(err == nil)
	if err == nil {
		if o.failing {
			o.log.Info("the outbox is published again")
		}
		o.failing = false
		o.retry.Reset()
		return nil
	}
	if !o.failing {
		o.log.Warn("the outbox cannot be published, retrying", "error", err)
	}
	// The failure may mean that the buckets were lost.
	o.failing, o.stale = true, true
	return time.After(o.retry.NextBackOff())
}

// wait returns when there is something to do. After a failure it waits for the retry
// timer or a reconnect and ignores new rows.
func (o *outbox) wait(ctx context.Context, retry <-chan time.Time) {
	pending := o.store.pending
	if retry != nil {
		pending = nil
	}
	select {
	case <-ctx.Done():
	case <-pending:
	case <-retry:
	case <-o.back:
		o.stale = true
		o.retry.Reset()
	}
}
