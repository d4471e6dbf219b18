package partition

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// workEnded is the log message for work that failed.
const workEnded = "the work on a partition came to an end"

// Tenure is the time for which a worker owns a partition.
type Tenure struct {
	Part int
	// Wanted is closed when the tenure ends and another worker waits for the
	// partition.
	Wanted <-chan struct{}

	batch *batch
	once  sync.Once   // it is prepared, or never will be
	ready atomic.Bool // it is prepared, as is its whole batch
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
	left atomic.Int64  // how many are not prepared yet
	all  chan struct{} // closed when all are prepared
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

// batchPatience is how long a prepared partition waits for the others of its batch, one
// of which may fail.
const batchPatience = 10 * time.Second

// Prepared records that the work on the partition can begin, and waits until that is so
// for every partition that the worker took at the same time, or batchPatience is over, or
// ctx ends. So what one partition knows of a gateway is known before another one uses it.
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

// begin calls own in a goroutine. own works until ctx ends.
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

// end ends the work, and hurries it if another worker wants the partition.
func (t *Tenure) end(wanted bool) {
	t.ending = true
	if wanted && !t.hurry {
		t.hurry = true
		close(t.wanted)
	}
	t.cancel()
}

// over reports whether the work has ended.
func (t *Tenure) over() bool {
	select {
	case <-t.ended:
		return true
	default:
		return false
	}
}
