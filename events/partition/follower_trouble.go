package partition

import (
	"sync/atomic"
	"time"

	"poked/events/stream"
)

// stalledFor is how long a partition may have messages without progress.
const stalledFor = 30 * time.Second

// motion tracks whether a follower makes progress. The follower's goroutine updates it at
// each tick; others read it.
type motion struct {
	ticked atomic.Int64 // the last tick, Unix nanoseconds
	moved  atomic.Int64 // the last tick with progress, or without messages to handle
	last   uint64       // newest sequence received at the last tick
}

// tick records the newest received sequence, and whether messages are waiting.
func (m *motion) tick(now time.Time, last uint64, waits bool) {
	m.ticked.Store(now.UnixNano())
	if last != m.last || !waits {
		m.moved.Store(now.UnixNano())
	}
	m.last = last
}

// trouble returns why the follower makes no progress although there is work, or "".
func (f *Follower) trouble() string {
	if err := f.saver.trouble.Lasting(stream.RefusedFor); err != nil {
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
