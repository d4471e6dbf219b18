package partition

import (
	"time"

	"poked/events/stream"
)

// saver stores a follower's position: one write at a time, each on the
// condition that nobody else wrote since the last. The goroutine of
// [Follower.Run] owns it; answers come through results.
type saver struct {
	register *stream.Register
	unsaved  int // messages taken since the last position was read off
	pending  int // what unsaved was when the write that is out began
	writing  bool
	since    time.Time // when the first write began since one was stored; zero if it was stored
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

// isBehind says whether too much was taken beyond the stored position, or too long
// ago.
func (s *saver) isBehind() bool {
	return s.unsaved+s.pending >= unsavedLimit || !s.since.IsZero() && time.Since(s.since) >= unsavedFor
}
