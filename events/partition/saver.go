package partition

import (
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
