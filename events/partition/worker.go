package partition

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"poked/events/stream"
	"poked/events/wait"
)

const (
	// shareInterval is how often a worker checks its partitions without an event.
	shareInterval = 500 * time.Millisecond
	// takeAtOnce is how many owners of partitions are written concurrently.
	takeAtOnce = 32
)

// Worker is one of the dispatchers that share the partitions; see the package comment,
// section "Sharing".
type Worker struct {
	conn *stream.Conn
	id   string
	log  *slog.Logger
	beat heartbeat
	wake chan struct{} // something happened in another goroutine

	trouble stream.Trouble // why it does not work on all that should be its own

	// Owned by the goroutine of Share.
	members *view // WORKERS: the heartbeats
	owners  *view // POSITIONS: the owner of each partition
	tenures map[int]*Tenure
	resting map[int]time.Time // partitions whose work failed, and when it may restart
	sharing []string          // the workers that share the partitions
	shares  []string          // the worker that each partition is assigned to
	leaving bool
}

// NewWorker returns a worker without partitions. id must be unique.
func (g *Group) NewWorker(id string) *Worker {
	c := g.conn
	w := &Worker{
		conn: c, id: id, log: c.Log().With("worker", id), wake: make(chan struct{}, 1),
		members: newView(c, stream.BucketWorkers, workerKey("*"), id),
		owners:  newView(c, stream.BucketPositions, "part.*", id),
		tenures: map[int]*Tenure{}, resting: map[int]time.Time{},
	}
	w.beat = heartbeat{
		lease: newLease(), log: w.log, now: make(chan struct{}, 1), wake: w.wakeUp,
		register: c.Register(stream.BucketWorkers, workerKey(id), id, 0),
	}
	return w
}

// Lease returns the worker's right to work on all that it owns.
func (w *Worker) Lease() *Lease { return w.beat.lease }

func (w *Worker) wakeUp() {
	wait.Wake(w.wake)
}

// Share owns this worker's share of the partitions until ctx ends, and then gives them
// back. For each partition it calls own in a goroutine of its own. own must return when
// its ctx ends; only then may another worker take the partition. If own returns earlier
// with an error, it is called again. ready is called once, when the worker first owns its
// whole share, which may be empty.
func (w *Worker) Share(ctx context.Context, own func(context.Context, *Tenure) error, ready func()) {
	// The heartbeat goes on until all work has ended.
	lasting, done := context.WithCancel(context.WithoutCancel(ctx))
	var beating sync.WaitGroup
	beating.Go(func() { w.beat.run(lasting) })
	w.share(ctx, lasting, own, ready)
	done()
	beating.Wait()
	w.beat.forget(context.WithoutCancel(ctx))
}

func (w *Worker) share(ctx, lasting context.Context, own func(context.Context, *Tenure) error, ready func()) {
	defer w.members.reset()
	defer w.owners.reset()
	tick := time.NewTicker(shareInterval)
	defer tick.Stop()
	asked := ctx.Done()
	back := w.conn.UntilReconnect()
	for settled := false; ; {
		select {
		case <-asked:
			asked = nil
			w.leave()
		// To begin to read waits for NATS. A worker that leaves does not: its partitions are free
		// once its heartbeat is gone.
		case m := <-w.members.messages(ctx):
			w.members.take(m)
		case m := <-w.owners.messages(ctx):
			w.owners.take(m)
		case <-back:
			back = w.conn.UntilReconnect()
			w.members.reset()
			w.owners.reset()
		case <-w.wake:
		case <-tick.C:
		}
		w.bury()
		well := w.act(ctx, lasting, own) && w.settled()
		w.trouble.Note(w.unsettled(well))
		if well && !settled {
			settled = true
			ready()
		}
		if w.leaving && len(w.tenures) == 0 {
			w.giveBack(lasting)
			return
		}
	}
}

// leave begins to give back everything. The heartbeat reports it at once, so that the
// others wait for the partitions.
func (w *Worker) leave() {
	w.leaving = true
	w.beat.leaving.Store(true)
	w.beat.atOnce()
	for _, t := range w.tenures {
		t.end(false)
	}
}

// bury removes the tenures whose work has ended.
func (w *Worker) bury() {
	for part, t := range w.tenures {
		if !t.over() {
			continue
		}
		delete(w.tenures, part)
		if t.err != nil {
			w.log.Warn(workEnded, "part", part, "error", t.err)
			w.resting[part] = time.Now().Add(wait.RetryPause)
		}
	}
}

// act takes, hands over and releases partitions, and reports whether the worker knew
// enough to do so.
func (w *Worker) act(ctx, lasting context.Context, own func(context.Context, *Tenure) error) bool {
	if !w.members.synced() || !w.owners.synced() || !w.confirm(lasting) || !w.Lease().Held() {
		return false
	}
	w.divide()
	w.handOver()
	w.giveBack(lasting)
	if ctx.Err() == nil {
		w.take(lasting, ctx, own)
	}
	return true
}

// confirm re-establishes what the worker owns after a time when others may have taken it
// for dead. It writes its name under each of its partitions again, which stops a worker
// that was about to take one, and waits for its own work to end on those that were taken.
// Until then the lease is not renewed.
func (w *Worker) confirm(ctx context.Context) bool {
	born := w.beat.born.Load()
	if w.beat.confirmed.Load() == born {
		return true
	}
	w.members.refresh() // the others may have been kept from NATS as well
	if _, known := w.write(ctx, w.mine(), w.id); !known {
		return false
	}
	w.findLost()
	for _, t := range w.tenures {
		if t.lost {
			<-t.ended
		}
	}
	w.bury()
	w.beat.confirmed.Store(born)
	w.beat.atOnce()
	return w.beat.sure()
}

// write records the owner of some partitions, each on the condition that its record is
// unchanged; if it has changed, the worker learns the new one. It returns the partitions
// that now have this owner. known is false if any outcome is unknown.
func (w *Worker) write(ctx context.Context, parts []int, owner string) (written []int, known bool) {
	results := make([]stream.Record, len(parts))
	errs := make([]error, len(parts))
	var group errgroup.Group
	group.SetLimit(takeAtOnce)
	for i, part := range parts {
		last := w.owner(part)
		group.Go(func() error {
			results[i], errs[i] = w.writeOne(ctx, part, owner, last)
			return errs[i]
		})
	}
	err := group.Wait()
	for i, part := range parts {
		if errs[i] != nil {
			continue
		}
		w.owners.set(ownerKey(part), results[i])
		if results[i].Value == owner {
			written = append(written, part)
		}
	}
	if err != nil {
		w.log.Warn("owner of a partition not stored, trying again", "error", err)
	}
	return written, err == nil
}

// writeOne records the owner of a partition, and returns the record after that.
func (w *Worker) writeOne(ctx context.Context, part int, owner string, last stream.Record) (stream.Record, error) {
	r := w.conn.Register(stream.BucketPositions, ownerKey(part), w.id, last.Revision)
	err := r.Set(ctx, []byte(owner))
	if conflict := new(stream.ConflictError); errors.As(err, &conflict) {
		return conflict.Found, nil
	}
	return r.Last(), err
}

// owner returns the last known record of a partition's owner.
func (w *Worker) owner(part int) stream.Record { return w.owners.records[ownerKey(part)].Record }

// mine returns the partitions that are recorded as the worker's.
func (w *Worker) mine() (parts []int) {
	for part := range w.conn.Topology().Partitions {
		if w.owner(part).Value == w.id {
			parts = append(parts, part)
		}
	}
	return parts
}

// Trouble returns why the worker does not work on its share of the partitions, although
// it has had the time to, or "".
func (w *Worker) Trouble() string {
	if err := w.beat.trouble.Lasting(stream.RefusedFor); err != nil {
		return "the heartbeat of the dispatcher is not stored: " + err.Error()
	}
	if err := w.trouble.Lasting(stalledFor); err != nil {
		return err.Error()
	}
	return ""
}
