package events

import (
	"sync/atomic"
	"time"
)

// refusedFor is for how long a write may be refused, or a read fail, until that counts
// as trouble: an election or a restart of NATS takes less.
const refusedFor = 10 * time.Second

// stalledFor is for how long a partition may have messages and take none.
const stalledFor = 30 * time.Second

// trouble is what keeps somebody from their work, and since when. The zero value is
// none. It is safe for concurrent use.
type trouble struct{ at atomic.Pointer[hindrance] }

type hindrance struct {
	since time.Time
	err   error
}

// note takes in how the last try went.
func (t *trouble) note(err error) {
	last := t.at.Load()
	switch {
	case err == nil && last != nil:
		t.at.Store(nil)
	case err != nil && last == nil:
		t.at.Store(&hindrance{since: time.Now(), err: err})
	case err != nil:
		t.at.Store(&hindrance{since: last.since, err: err})
	}
}

// lasting returns what has kept somebody from their work for at least d, or nil.
func (t *trouble) lasting(d time.Duration) error {
	if last := t.at.Load(); last != nil && time.Since(last.since) >= d {
		return last.err
	}
	return nil
}

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

// Trouble returns why the worker does not work on its share of the partitions, though it
// has had time to, or "".
func (w *Worker) Trouble() string {
	if err := w.beat.trouble.lasting(refusedFor); err != nil {
		return "the heartbeat of the dispatcher is not stored: " + err.Error()
	}
	if err := w.trouble.lasting(stalledFor); err != nil {
		return err.Error()
	}
	return ""
}

// trouble returns why the follower does not get on, though there is something to do, or
// "".
func (f *Follower) trouble() string {
	if err := f.unsaved.lasting(refusedFor); err != nil {
		return "its position is not stored: " + err.Error()
	}
	if err := f.tail.trouble.lasting(refusedFor); err != nil {
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
