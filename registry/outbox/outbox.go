// Package outbox publishes to NATS what clients have changed in the store.
//
//	store ─outbox rows─▶ Outbox ──Put──▶ PUSHERS, PUSH_RULES ──▶ dispatchers
//	  ▲                                      │
//	  └── users that differ ◀── reconcile ◀──┘
//
// Each user has two values, in a bucket each: the pushers, and the push rules with the ignored
// users and where the user wants no pokes. Publishing, comparing and repairing work the same for
// both. Different users are published in parallel, one user's versions in order, and a new pusher
// never before its user's rules. An [events.Barrier] in ROOMS follows each batch: who waits for it
// ([Outbox.Await]) knows that later events are matched with the change.
//
// Of several registries each publishes its own rows, and after a second or two those of others
// that are still there. Before it reads a value it claims the key in the bucket
// ([stream.Claim]), so that a registry that was paused in between replaces no newer value.
//
// # What fails, and how
//
//   - NATS is away: the outbox grows. Publishing is retried with jittered backoff, and at once
//     after a reconnect.
//   - A crash between publishing and deleting the row: the value is published again, unchanged or
//     newer.
//   - A bucket was lost, lags or is ahead (the database was restored from a backup): at the start,
//     after each reconnect and after each failure the buckets are compared with the database, and
//     users that differ go into the outbox, with a version above the bucket's. The database
//     always wins.
//   - The database was lost: [CheckNotLost] refuses an empty one while the buckets hold values.
package outbox

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"
	"golang.org/x/sync/errgroup"

	"poked/events"
	"poked/events/stream"
	"poked/events/wait"
	"poked/registry/database"
	"poked/registry/store"
)

const (
	batch   = 64 // rows read at once
	writers = 16 // values written at once

	// leftEvery is how often to look for rows that the registries that made them have not
	// published, since they were killed or are paused.
	leftEvery = time.Second
)

// Outbox publishes changes of the store to NATS, batch by batch. One goroutine runs it.
type Outbox struct {
	db    *database.DB
	store *store.Store
	conn  *stream.Conn
	log   *slog.Logger
	back  chan struct{} // signals that the connection to NATS was restored

	// stale is set when the buckets may differ from what was written to them.
	stale bool
	// left is the newest row at the look before the last one: rows up to it that are still
	// there were left by their processes.
	left, last int64

	failing bool
	look    <-chan time.Time // when to look for rows that others have left; nil if there are no others
	settled atomic.Bool      // the last attempt published everything

	mu    sync.Mutex
	next  chan struct{} // closed when the next batch was published
	retry *backoff.ExponentialBackOff
}

// New returns an outbox that does nothing until [Outbox.Run].
func New(db *database.DB, store *store.Store, conn *stream.Conn, log *slog.Logger) *Outbox {
	o := &Outbox{
		db: db, store: store, conn: conn, log: log, back: make(chan struct{}, 1),
		next:  make(chan struct{}),
		stale: true, // a bucket or the database may have been lost or restored
		retry: backoff.NewExponentialBackOff(
			backoff.WithInitialInterval(250*time.Millisecond),
			backoff.WithMaxInterval(5*time.Second),
			backoff.WithMaxElapsedTime(0),
		),
	}
	conn.OnReconnect(o.Compare)
	return o
}

// Compare makes the buckets be compared with the database, as after a reconnect.
func (o *Outbox) Compare() { wait.Wake(o.back) }

// Settled reports whether the last attempt published everything.
func (o *Outbox) Settled() bool { return o.settled.Load() }

// Run publishes changes until ctx ends, and then returns nil. The next start publishes
// what is left, or another registry on the same database does.
func (o *Outbox) Run(ctx context.Context) error {
	ticker := time.NewTicker(leftEvery)
	defer ticker.Stop()
	if o.db.Shared() {
		o.look = ticker.C
	}
	var err error
	if o.left, err = o.store.NewestRow(ctx); err != nil {
		o.log.Warn("the outbox cannot be read yet", "error", err)
	}
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
func (o *Outbox) settle(ctx context.Context) error {
	if o.stale {
		alone, err := o.db.Alone(ctx, "reconcile", o.reconcileAll)
		if err != nil {
			return err
		}
		o.stale = !alone // while another registry does it, changes are published
	}
	for {
		more, err := o.publishBatch(ctx)
		if err != nil || !more {
			return err
		}
	}
}

func (o *Outbox) reconcileAll(ctx context.Context) error {
	if err := o.conn.PutOfferedRules(ctx, o.store.Options().Offers); err != nil {
		return err //nolint:wrapcheck // the error names what was written
	}
	for _, b := range []store.Bucket{store.InPushers, store.InPushRules} {
		if err := o.reconcile(ctx, b); err != nil {
			return err
		}
	}
	return nil
}

// publishBatch publishes the head of the outbox. Values that could not be written stay
// in it and do not block the others.
func (o *Outbox) publishBatch(ctx context.Context) (more bool, err error) {
	list, err := o.store.Unpublished(ctx, o.left, batch)
	if err != nil || len(list) == 0 {
		return false, err
	}
	revisions, errs := o.publish(ctx, list)
	var published []store.Waiting
	var newest events.Barrier
	for i := range list {
		if errs[i] == nil {
			published = append(published, list[i])
			at := revisionIn(&newest, list[i].Bucket)
			*at = max(*at, revisions[i])
		}
	}
	if len(published) > 0 { // a client has its answer when no later event can be matched without its change
		err = o.conn.PublishBarrier(ctx, newest)
	}
	if err == nil {
		err = o.store.Published(ctx, published)
	}
	o.mu.Lock()
	close(o.next)
	o.next = make(chan struct{})
	o.mu.Unlock()
	failed, err := o.settleErrors(ctx, list, errs, err)
	return failed == nil && err == nil, errors.Join(failed, err)
}

// publish writes the current values of the list to their buckets. It claims each key before
// it reads the values; see [stream.Claim]. It returns the revisions of the values.
func (o *Outbox) publish(ctx context.Context, list []store.Waiting) (revisions []uint64, errs []error) {
	revisions, errs = make([]uint64, len(list)), make([]error, len(list))
	puts := make([]putter, len(list))
	o.each(list, []store.Bucket{store.InPushRules, store.InPushers}, func(i int) {
		puts[i], errs[i] = claimKeyIn(ctx, o.conn, list[i].Bucket, list[i].UserID)
	})
	values, err := o.store.Load(ctx, list)
	if err != nil {
		for i := range errs {
			errs[i] = err
		}
		return revisions, errs
	}
	put := func(i int) {
		if errs[i] == nil {
			revisions[i], errs[i] = puts[i](ctx, values[i])
		}
	}
	o.each(list, []store.Bucket{store.InPushRules}, put)
	o.each(list, []store.Bucket{store.InPushers}, put) // a new pusher must not come before its user's rules
	return revisions, errs
}

// each calls do for each value of the buckets, in parallel.
func (o *Outbox) each(list []store.Waiting, buckets []store.Bucket, do func(i int)) {
	var group errgroup.Group
	group.SetLimit(writers)
	for i := range list {
		if slices.Contains(buckets, list[i].Bucket) {
			group.Go(func() error { do(i); return nil })
		}
	}
	_ = group.Wait() // do keeps the errors
}

// settleErrors returns the first error that is a failure. Another registry that published
// the same user is none: the rows that are left are read again. If the bucket is ahead of
// the database, the user's version jumps above the bucket's.
func (o *Outbox) settleErrors(ctx context.Context, list []store.Waiting, errs []error, err error) (failed, _ error) {
	for i, e := range errs {
		var ahead *stream.AheadError
		var conflict *stream.ConflictError
		switch {
		case e == nil:
		case errors.As(e, &ahead):
			o.log.Warn("nats was ahead of the database; the database wins", "bucket", string(list[i].Bucket), "user_id", string(list[i].UserID))
			err = errors.Join(err, o.store.Enqueue(ctx, list[i].Bucket, []store.Entry{{User: list[i].UserID, AtLeast: ahead.Version + 1}}))
		case errors.As(e, &conflict):
		case failed == nil:
			failed = e // the others are usually the same
		}
	}
	return failed, err
}

// publishedWithin bounds how long a client waits for NATS after its change is on disk.
const publishedWithin = 3 * time.Second

// Await returns once all changes of a user are published, so that they are in effect for
// events that the homeserver publishes after the client has its answer. It does not wait while
// NATS is away, and no longer than publishedWithin.
func (o *Outbox) Await(ctx context.Context, user events.UserID) {
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

// outcome logs the beginning and the end of a failure. It returns a timer for the next
// retry, or nil if there is nothing to retry.
func (o *Outbox) outcome(err error) <-chan time.Time {
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
func (o *Outbox) wait(ctx context.Context, retry <-chan time.Time) {
	pending, look := o.store.Pending(), o.look
	if retry != nil {
		pending, look = nil, nil
	}
	select {
	case <-ctx.Done():
	case <-pending:
	case <-retry:
	case <-o.back:
		o.stale = true
		o.retry.Reset()
	case <-look:
		o.lookForLeft(ctx)
	}
}

// lookForLeft makes the rows that were there at the last look, and are still there, this
// registry's as well.
func (o *Outbox) lookForLeft(ctx context.Context) {
	newest, err := o.store.NewestRow(ctx)
	if err != nil {
		return // the next look may succeed
	}
	o.left, o.last = o.last, newest
}
