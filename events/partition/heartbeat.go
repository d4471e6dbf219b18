package partition

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"poked/events/stream"
	"poked/events/wait"
)

const (
	// heartbeatInterval is how often a worker writes its heartbeat.
	heartbeatInterval = stream.WorkerTTL / 4
	// heartbeatTimeout limits one attempt to write it, so that the lease lasts for more
	// attempts.
	heartbeatTimeout = 2 * time.Second
	// goodbyeTimeout limits how long a worker that ends tries to delete its heartbeat.
	goodbyeTimeout = time.Second
)

// The values of a worker's heartbeat.
const (
	stateHere    = "here"
	stateLeaving = "leaving" // it wants no partition, and gives its own back
)

// workerKey returns the key of a worker's heartbeat in WORKERS.
func workerKey(worker string) string { return "worker." + worker }

// heartbeat keeps a worker's key in WORKERS alive, and with it the lease. As long as each
// write finds the one before it, no other worker can have seen the key expire. If the key
// has expired, one may have: then the lease is renewed only after the worker has
// confirmed what it owns.
type heartbeat struct {
	lease *Lease
	log   *slog.Logger

	leaving   atomic.Bool
	born      atomic.Uint64  // how often the key was made
	confirmed atomic.Uint64  // what born was when the worker last confirmed what it owns
	now       chan struct{}  // requests a write at once
	wake      func()         // called when the key was made, and when the lease is held again
	trouble   stream.Trouble // why the heartbeat is not stored

	// Owned by run.
	register *stream.Register
	making   bool // the key is being made, or was made and the answer lost
	failing  bool // so that an outage is logged once
}

// run writes heartbeats until ctx ends.
func (h *heartbeat) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.now:
		case <-timer.C:
		}
		timer.Reset(h.beat(ctx))
	}
}

// atOnce requests a heartbeat without waiting for the interval.
func (h *heartbeat) atOnce() {
	wait.Wake(h.now)
}

// beat writes a heartbeat, and returns the pause before the next one.
func (h *heartbeat) beat(ctx context.Context) time.Duration {
	ctx, cancel := context.WithTimeout(ctx, heartbeatTimeout)
	defer cancel()
	asked := time.Now()
	err := h.write(ctx)
	h.trouble.Note(err)
	if err != nil {
		if !h.failing && !errors.Is(err, context.Canceled) {
			h.log.Warn("heartbeat not stored, trying until it is", "error", err)
		}
		h.failing = true
		return wait.RetryPause
	}
	h.failing = false
	if h.making {
		h.making = false
		h.born.Add(1)
		h.wake()
	}
	if h.sure() {
		held := h.lease.Held()
		if h.lease.renewed(asked); !held {
			h.wake()
		}
	}
	return heartbeatInterval
}

// sure reports whether no other worker can have taken anything over since the worker last
// confirmed what it owns.
func (h *heartbeat) sure() bool { return h.confirmed.Load() == h.born.Load() }

func (h *heartbeat) write(ctx context.Context) error {
	value := []byte(stateHere)
	if h.leaving.Load() {
		value = []byte(stateLeaving)
	}
	for {
		h.making = h.making || !h.register.Last().There
		err := h.register.Set(ctx, value)
		conflict := new(stream.ConflictError)
		if !errors.As(err, &conflict) {
			return err
		}
		h.register.Adopt(conflict) // the key has expired
	}
}

// forget deletes the worker's key, so that no other worker waits for it to expire.
func (h *heartbeat) forget(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, goodbyeTimeout)
	defer cancel()
	if err := h.register.Clear(ctx); err != nil {
		h.log.Warn("heartbeat not taken back, it runs out by itself", "error", err)
	}
}

// lives reports whether NATS has a heartbeat of a worker.
func lives(ctx context.Context, c *stream.Conn, worker string) (bool, error) {
	last, err := c.ReadRecord(ctx, stream.BucketWorkers, workerKey(worker))
	return last.There, err
}

// HasWorkers reports whether any dispatcher shares the partitions, judged by the last
// message in WORKERS. It may miss one if another has just left.
func (g *Group) HasWorkers(ctx context.Context) (bool, error) { return lives(ctx, g.conn, "*") }
