package stream

import (
	"sync/atomic"
	"time"
)

// RefusedFor is how long writes may be refused, or reads fail, before that counts as
// trouble: an election or a restart of NATS takes less.
const RefusedFor = 10 * time.Second

// Trouble is an error that persists, and its beginning. The zero value is none. It is
// safe for concurrent use.
type Trouble struct{ at atomic.Pointer[hindrance] }

type hindrance struct {
	since time.Time
	err   error
}

// Note records the result of the last attempt.
func (t *Trouble) Note(err error) {
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

// Lasting returns the last error if every attempt has failed for at least d, or nil.
func (t *Trouble) Lasting(d time.Duration) error {
	if last := t.at.Load(); last != nil && time.Since(last.since) >= d {
		return last.err
	}
	return nil
}
