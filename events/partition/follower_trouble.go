package partition

import (
	"sync/atomic"
	"time"

	"poked/events/stream"
)

// stalledFor is for how long a partition may have messages and take none.
const stalledFor = 30 * time.Second

// motion is whether a follower gets on. Its goroutine notes it at each tick, others read
// it.
type motion struct {
	ticked atomic.Int64 // when the goroutine last came by, Unix nanoseconds
	moved  atomic.Int64 // when a message was last taken, or none waited
	last   uint64       // newest sequence received at the last tick
}

// tick takes in how far the follower has got, and whether messages wait for it.
func (m *motion) tick(now time.Time, last uint64, waits bool) {
	m.ticked.Store(now.UnixNano())
	if last != m.last || !waits {
		m.moved.Store(now.UnixNano())
	}
	m.last = last
}

// trouble returns why the follower does not get on, though there is something to do, or
// "".
func (f *Follower) trouble() string {
	if err := f.unsaved.Lasting(stream.RefusedFor); err != nil {
		return "its position is not stored: " + err.Error()
	}
	if err := f.tail.Trouble(stream.RefusedFor); err != nil {
		return "it cannot be read: " + err.Error()
	}
	limit := max(stalledFor, 4*f.conn.TickInterval())
	switch now := time.Now(); {
	case now.Sub(time.Unix(0, f.motion.ticked.Load())) > limit:
		return "one of its messages waits for NATS; the log says for what"
	case now.Sub(time.Unix(0, f.motion.moved.Load())) > limit:
		return "messages wait and none is taken"
	}
	return ""
}
