package partition

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"poked/events/stream"
)

const (
	// shareInterval is how often a worker looks whether all is as it should be,
	// though nobody told it of a change.
	shareInterval = 500 * time.Millisecond
	// takeAtOnce is how many partitions are written down at the same time.
	takeAtOnce = 32
)

// Worker is one of the dispatchers that share the partitions. What it does and
// why is in the package comment, under Ownership.
type Worker struct {
	conn *stream.Conn
	id   string
	log  *slog.Logger
	beat heartbeat
	wake chan struct{} // something happened in another goroutine

	trouble stream.Trouble // why it does not work on all that should be its own

	// Owned by the goroutine of Share.
	members *view // WORKERS: who is there
	owners  *view // POSITIONS: whose each partition is
	tenures map[int]*Tenure
	resting map[int]time.Time // partitions whose work failed, until when they are left alone
	sharing []string          // the workers that share the partitions
	shares  []string          // whose each partition is to be
	leaving bool
}

// NewWorker returns a worker under a name that no other one has, which owns
// nothing yet.
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

// Lease returns the worker's right to work on what it owns, all of it alike.
func (w *Worker) Lease() *Lease { return w.beat.lease }

func (w *Worker) wakeUp() {
	select {
	case w.wake <- struct{}{}:
	default: // it is about to wake
	}
}

// Share has the worker own its share of the partitions until ctx ends, and then
// gives them back. For each partition that it gets own is called, in a goroutine
// of its own; the partition is another's to take only when own has returned, which
// it does when its ctx ends. If own returns before, because it failed, it is
// called again. ready is called once, when the worker owns for the first time what
// it should, be that nothing.
func (w *Worker) Share(ctx context.Context, own func(context.Context, *Tenure) error, ready func()) {
	// Who is asked to stop is a worker until all of its work has ended.
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
		case m := <-w.members.messages(lasting):
			w.members.take(m)
		case m := <-w.owners.messages(lasting):
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

// leave begins to give back everything. The others are told at once, so that they
// wait for it.
func (w *Worker) leave() {
	w.leaving = true
	w.beat.leaving.Store(true)
	w.beat.atOnce()
	for _, t := range w.tenures {
		t.end(false)
	}
}

// bury takes note of work that has ended.
func (w *Worker) bury() {
	for part, t := range w.tenures {
		if !t.over() {
			continue
		}
		delete(w.tenures, part)
		if t.err != nil {
			w.log.Warn(workEnded, "part", part, "error", t.err)
			w.resting[part] = time.Now().Add(stream.RetryWait)
		}
	}
}

// act does what is to be done as things stand, if it is known how they do, and
// returns whether it is.
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

// confirm makes certain of what the worker owns, after a time when others may have
// taken it for dead: it writes its name again under each partition, so that who
// was about to take it is too late, and waits for the end of its work on those
// where it is too late itself. Until then its lease is not renewed.
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

// write writes down whose some partitions are, each if that is still as the worker
// knows it; if not, it knows better now. It returns those that are the owner's by
// that, and whether it knows of all.
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

// writeOne writes down whose a partition is and returns what is then written.
func (w *Worker) writeOne(ctx context.Context, part int, owner string, last stream.Record) (stream.Record, error) {
	r := w.conn.Register(stream.BucketPositions, ownerKey(part), w.id, last.Revision)
	err := r.Set(ctx, []byte(owner))
	if conflict := new(stream.ConflictError); errors.As(err, &conflict) {
		return conflict.Stands, nil
	}
	return r.Last(), err
}

// owner returns what is known of whose a partition is.
func (w *Worker) owner(part int) stream.Record { return w.owners.records[ownerKey(part)].Record }

// mine returns the partitions that are written down as the worker's.
func (w *Worker) mine() (parts []int) {
	for part := range w.conn.Partitions() {
		if w.owner(part).Value == w.id {
			parts = append(parts, part)
		}
	}
	return parts
}

// Trouble returns why the worker does not work on its share of the partitions, though it
// has had time to, or "".
func (w *Worker) Trouble() string {
	if err := w.beat.trouble.Lasting(stream.RefusedFor); err != nil {
		return "the heartbeat of the dispatcher is not stored: " + err.Error()
	}
	if err := w.trouble.Lasting(stalledFor); err != nil {
		return err.Error()
	}
	return ""
}
