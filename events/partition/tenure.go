package partition

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// workEnded is said in the log of work that failed.
const workEnded = "the work on a partition came to an end"

// Tenure is the time for which a worker owns a partition.
type Tenure struct {
	Part int
	// Wanted is closed when the tenure ends and another worker waits for the
	// partition.
	Wanted <-chan struct{}

	batch *batch
	once  sync.Once   // it is prepared, or will not be
	ready atomic.Bool // prepared, as all of the batch are
	wake  func()

	// Owned by the worker.
	cancel context.CancelFunc
	wanted chan struct{}
	ended  chan struct{} // closed when the work has ended
	err    error         // what it ended with
	ending bool          // cancel was called
	lost   bool          // another worker has taken over
	hurry  bool          // wanted is closed
}

// batch is the partitions that a worker took at the same time.
type batch struct {
	left atomic.Int64  // those that are not prepared
	all  chan struct{} // closed when there are none left
}

func newBatch(n int) *batch {
	b := &batch{all: make(chan struct{})}
	b.left.Store(int64(n))
	return b
}

func (b *batch) oneLess() {
	if b.left.Add(-1) == 0 {
		close(b.all)
	}
}

// batchPatience is how long a partition that is prepared waits for the others of its
// batch: one that cannot be prepared must not keep them.
const batchPatience = 10 * time.Second

// Prepared says that all is known that is needed to begin the work, and waits
// until that is so for every partition that the worker took at the same time, or
// batchPatience is over, or ctx ends. So what one of them knows of a gateway is known
// before another one asks it.
func (t *Tenure) Prepared(ctx context.Context) {
	t.once.Do(t.batch.oneLess)
	patience := time.NewTimer(batchPatience)
	defer patience.Stop()
	select {
	case <-t.batch.all:
	case <-patience.C:
	case <-ctx.Done():
	}
	t.ready.Store(true)
	t.wake()
}

// begin has a tenure run: own works until ctx ends.
func (t *Tenure) begin(ctx context.Context, own func(context.Context, *Tenure) error) {
	t.wanted, t.ended = make(chan struct{}), make(chan struct{})
	t.Wanted = t.wanted
	ctx, t.cancel = context.WithCancel(ctx)
	go func() { // the worker waits for ended
		t.err = own(ctx, t)
		t.cancel()
		t.once.Do(t.batch.oneLess)
		close(t.ended)
		t.wake()
	}()
}

// end has the work end, soon if another worker waits for the partition.
func (t *Tenure) end(wanted bool) {
	t.ending = true
	if wanted && !t.hurry {
		t.hurry = true
		close(t.wanted)
	}
	t.cancel()
}

// over says whether the work has ended.
func (t *Tenure) over() bool {
	select {
	case <-t.ended:
		return true
	default:
		return false
	}
}
