package partition

import (
	"sync/atomic"
	"time"

	"poked/events/stream"
)

// leaseTrust is how long a worker without an answer from NATS may rely on its ownership:
// slightly less than NATS keeps its heartbeat, counted from when the heartbeat was sent.
const leaseTrust = stream.WorkerTTL * 9 / 10

// Lease is a worker's right to work on the partitions that it owns. It is safe for
// concurrent use. A nil Lease is always held, for a worker without rivals.
type Lease struct {
	began time.Time
	sure  atomic.Int64 // since began, until when nobody else can take anything over
}

func newLease() *Lease { return &Lease{began: time.Now()} }

// renewed extends the lease after NATS stored a heartbeat that was sent at a time.
func (l *Lease) renewed(asked time.Time) {
	l.sure.Store(int64(asked.Sub(l.began) + leaseTrust))
}

// Held reports whether it is certain that no other worker has taken over. While it is
// not, because NATS is away or the process was paused, the worker begins nothing and
// writes nothing.
func (l *Lease) Held() bool {
	return l == nil || int64(time.Since(l.began)) < l.sure.Load()
}
