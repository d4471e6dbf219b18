package partition

import (
	"sync/atomic"
	"time"

	"poked/events/stream"
)

// leaseTrust is for how long a worker that does not hear from NATS may still count
// on what it owns: a little less than NATS keeps its heartbeat, counted from when
// the worker last asked for it.
const leaseTrust = stream.WorkerTTL * 9 / 10

// Lease is a worker's right to work on the partitions that it owns. It is safe
// for concurrent use. A nil Lease is held for ever: it is for one who has no
// rival.
type Lease struct {
	began time.Time
	sure  atomic.Int64 // since began, until when nobody else can take anything over
}

func newLease() *Lease { return &Lease{began: time.Now()} }

// renewed takes in that NATS has heard a heartbeat that was sent at a time.
func (l *Lease) renewed(asked time.Time) {
	l.sure.Store(int64(asked.Sub(l.began) + leaseTrust))
}

// Held says whether it is certain that nobody else has taken over what the worker
// owns. While it is not, because NATS is away or the process was held up, the
// worker begins nothing and writes nothing: another one may be at work, and only
// NATS can tell.
func (l *Lease) Held() bool {
	return l == nil || int64(time.Since(l.began)) < l.sure.Load()
}
