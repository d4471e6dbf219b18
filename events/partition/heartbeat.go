package partition

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"poked/events/stream"
)

const (
	// heartbeatInterval is how often a worker says that it is alive.
	heartbeatInterval = stream.WorkerTTL / 4
	// heartbeatTimeout bounds one try to say so: there is time for more before the
	// lease is over.
	heartbeatTimeout = 2 * time.Second
	// goodbyeTimeout bounds the wait of one who ends to be forgotten at once.
	goodbyeTimeout = time.Second
)

// What a worker's heartbeat says.
const (
	stateHere    = "here"
	stateLeaving = "leaving" // it wants no partition, and gives back those that it has
)

// workerKey is where in WORKERS a worker's heartbeat is kept.
func workerKey(worker string) string { return "worker." + worker }

// heartbeat keeps a worker's key in WORKERS alive, and with it the lease. As long
// as each write finds the one before it, nobody can have seen the worker dead. If
// the key had run out somebody may have: then the lease is renewed only after the
// worker has confirmed what it owns.
type heartbeat struct {
	lease *Lease
	log   *slog.Logger

	leaving   atomic.Bool
	born      atomic.Uint64  // how often the key was made
	confirmed atomic.Uint64  // what born was when the worker last confirmed what it owns
	now       chan struct{}  // has it beat at once
	wake      func()         // called when the key was made, and when the lease is held again
	trouble   stream.Trouble // why the heartbeat is not stored

	// Owned by run.
	register *stream.Register
	making   bool // the key is being made, or was without our hearing of it
	failing  bool // so that an outage is logged once
}

// run beats until ctx ends.
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

// atOnce has it beat without waiting for the next time.
func (h *heartbeat) atOnce() {
	select {
	case h.now <- struct{}{}:
	default: // it is about to
	}
}

// beat says that the worker is alive, and returns when to say so again.
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
		return stream.RetryWait
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

// sure says whether nobody can have taken anything over since the worker last
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
		h.register.Adopt(conflict) // the key has run out
	}
}

// forget takes the key away, which is nobody else's, so that nobody waits for the
// worker.
func (h *heartbeat) forget(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, goodbyeTimeout)
	defer cancel()
	if err := h.register.Clear(ctx); err != nil {
		h.log.Warn("heartbeat not taken back, it runs out by itself", "error", err)
	}
}

// lives says whether NATS keeps a heartbeat of a worker.
func lives(ctx context.Context, c *stream.Conn, worker string) (bool, error) {
	last, err := c.ReadRecord(ctx, stream.BucketWorkers, workerKey(worker))
	return last.There, err
}

// HasWorkers says whether any dispatcher shares the partitions at the moment, as
// far as the last word in WORKERS tells: it may be that of one who has just left.
func (g *Group) HasWorkers(ctx context.Context) (bool, error) { return lives(ctx, g.conn, "*") }
