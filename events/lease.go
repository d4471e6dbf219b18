package events

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// leaseKey is the key in WORKERS whose holder dispatches.
const leaseKey = "dispatcher"

// leaseRenewal is how often the holder of the lease says that it is alive.
const leaseRenewal = workerTTL / 4

// leaseTrust is for how long a holder that does not hear from NATS may still count
// on its lease: a little less than NATS keeps it, counted from when the holder
// last asked for it.
const leaseTrust = workerTTL * 9 / 10

// Lease is a dispatcher's right to work. It is safe for concurrent use. A nil
// Lease is held for ever: it is for one who has no rival.
type Lease struct {
	began time.Time
	sure  atomic.Int64 // since began, until when nobody else can have it
}

// newLease returns a lease that NATS granted to a request made at a time.
func newLease(asked time.Time) *Lease {
	l := &Lease{began: asked}
	l.renewed(asked)
	return l
}

func (l *Lease) renewed(asked time.Time) {
	l.sure.Store(int64(asked.Sub(l.began) + leaseTrust))
}

// Held says whether it is certain that nobody else has the lease. While it is not,
// because NATS is away or the process was held up, its holder begins nothing and
// writes nothing: another one may be at work, and only NATS can tell.
func (l *Lease) Held() bool {
	return l == nil || int64(time.Since(l.began)) < l.sure.Load()
}

// Lead runs lead while worker holds the dispatcher's lease: one dispatcher owns
// all partitions, any others stand by and take over when it stops (at once) or
// dies (after 5 s). The context of lead ends when another has the lease, and
// until that is known [Lease.Held] says whether it may be so; positions are fenced
// besides, so two that believe to lead for a moment lose nothing. Lead returns
// when ctx ends or lead fails.
func (c *Conn) Lead(ctx context.Context, worker string, lead func(context.Context, *Lease) error) error {
	for waiting := false; ; {
		asked := time.Now()
		revision, err := c.takeLease(ctx, worker)
		if err == nil {
			if err := c.leadWith(ctx, worker, revision, newLease(asked), lead); err != nil || ctx.Err() != nil {
				return err
			}
			waiting = false
			continue
		}
		if ctx.Err() != nil {
			return nil //nolint:nilerr // asked to stop
		}
		if !waiting {
			c.log.Info("standing by", "reason", err.Error())
			waiting = true
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(retryWait):
		}
	}
}

func (c *Conn) takeLease(ctx context.Context, worker string) (uint64, error) {
	kv, err := c.js.KeyValue(ctx, bucketWorkers)
	if err != nil {
		return 0, fmt.Errorf("open bucket %s: %w", bucketWorkers, err)
	}
	revision, err := kv.Create(ctx, leaseKey, []byte(worker))
	if errors.Is(err, jetstream.ErrKeyExists) {
		return 0, errors.New("another dispatcher works")
	}
	if err != nil {
		return 0, fmt.Errorf("take lease: %w", err)
	}
	return revision, nil
}

// leadWith runs lead and renews the lease beside it.
func (c *Conn) leadWith(ctx context.Context, worker string, revision uint64, lease *Lease, lead func(context.Context, *Lease) error) error {
	leading, lost := context.WithCancel(ctx)
	defer lost()
	// Renewing outlasts ctx: who is asked to stop still has pokes out, and the
	// lease, until lead has returned.
	renewing, done := context.WithCancel(context.WithoutCancel(ctx))
	defer done()
	renewed := make(chan uint64, 1)
	go func() { // ends with renewing; leadWith waits for it
		defer lost()
		renewed <- c.renewLease(renewing, worker, revision, lease)
	}()
	err := lead(leading, lease)
	done()
	c.dropLease(<-renewed)
	return err
}

// renewLease renews until ctx ends or the lease is another's, and returns the
// last revision. While NATS is away nobody can take the lease, so it stays.
func (c *Conn) renewLease(ctx context.Context, worker string, revision uint64, lease *Lease) uint64 {
	tick := time.NewTicker(leaseRenewal)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return revision
		case <-tick.C:
		}
		asked := time.Now()
		next, err := c.renewOnce(ctx, worker, revision)
		switch {
		case err == nil:
			revision = next
			lease.renewed(asked)
		case isConflict(err):
			c.log.Warn("another dispatcher has taken over")
			return 0
		case ctx.Err() == nil:
			c.log.Warn("lease not renewed, trying again", "error", err)
		}
	}
}

func (c *Conn) renewOnce(ctx context.Context, worker string, revision uint64) (uint64, error) {
	kv, err := c.js.KeyValue(ctx, bucketWorkers)
	if err != nil {
		return 0, err
	}
	next, err := kv.Update(ctx, leaseKey, []byte(worker), revision)
	if err == nil || !isConflict(err) {
		return next, err
	}
	// Our own write whose answer was lost, or a key that ran out with nobody
	// taking it, is no other's lease.
	entry, getErr := kv.Get(ctx, leaseKey)
	switch {
	case errors.Is(getErr, jetstream.ErrKeyNotFound):
		return kv.Create(ctx, leaseKey, []byte(worker))
	case getErr != nil:
		return 0, getErr // whose it is, nobody knows yet
	case string(entry.Value()) == worker:
		return entry.Revision(), nil
	}
	return 0, err
}

// dropLease lets a successor begin at once.
func (c *Conn) dropLease(revision uint64) {
	if revision == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	kv, err := c.js.KeyValue(ctx, bucketWorkers)
	if err == nil {
		err = kv.Delete(ctx, leaseKey, jetstream.LastRevision(revision))
	}
	if err != nil && !isConflict(err) { // one that has run out, or is another's, is not ours to give
		c.log.Warn("lease not given back, it runs out by itself", "error", err)
	}
}
