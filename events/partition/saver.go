package partition

import (
	"log/slog"
	"time"

	"poked/events/stream"
)

// saver stores a follower's position: one write at a time, on the condition that no other
// worker wrote since the last. The goroutine of [Follower.Run] owns it; answers arrive
// through results.
type saver struct {
	stored   bool // a position of this worker was stored: it has taken over
	register *stream.Register
	unsaved  int // messages taken since the last write began
	pending  int // messages that the pending write covers
	writing  bool
	since    time.Time // beginning of the first write since the last one that was stored; zero if all were
	slow     bool      // it was logged that the write takes long
	notUntil time.Time
	timer    *time.Timer
	armed    bool
	results  chan error
}

func newSaver(register *stream.Register) saver {
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	return saver{register: register, timer: timer, results: make(chan error, 1)}
}

// isBehind reports whether too many messages were taken beyond the stored position, or
// too long ago.
func (s *saver) isBehind() bool {
	return s.unsaved+s.pending >= unsavedLimit || !s.since.IsZero() && time.Since(s.since) >= unsavedFor
}

// slowSave is how long a position may take to be stored before that is logged: if the worker
// dies meanwhile, the log shows why its successor repeated something.
const slowSave = 100 * time.Millisecond

// noteSlow logs once that the position takes long to be stored.
func (s *saver) noteSlow(log *slog.Logger) {
	switch {
	case s.since.IsZero():
		s.slow = false
	case !s.slow && time.Since(s.since) >= slowSave:
		s.slow = true
		log.Debug("position not stored yet", "since", s.since)
	}
}
