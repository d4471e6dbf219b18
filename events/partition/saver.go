package partition

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"poked/events/stream"
	"poked/events/wait"
)

// saver stores a follower's position: one write at a time, on the condition that no other
// worker wrote since the last. It has a goroutine of its own, since that of [Follower.Run]
// may wait for NATS: what is done meanwhile by others is stored all the same, and not
// repeated if the worker dies (G2).
type saver struct {
	f        *Follower
	register *stream.Register
	results  chan error     // answers to writes
	failed   chan error     // why the partition cannot be followed any more, once
	many     chan struct{}  // receives when so many messages are unsaved that it does not wait
	trouble  stream.Trouble // why the position is not stored

	// Owned by the goroutine of run, and after it by that of storeLast.
	stored   bool // a position of this worker was stored: it has taken over
	writing  bool
	failing  bool // the last write was not stored
	notUntil time.Time

	mu      sync.Mutex
	unsaved int       // messages taken since the last write began
	pending int       // messages that the pending write covers
	since   time.Time // beginning of the first write since the last one that was stored; zero if all were
}

// hurryAt is how many unsaved messages make a write begin without waiting, so that it is
// stored before there are unsavedLimit.
const hurryAt = unsavedLimit / 2

// slowSave is how long a position may take to be stored before that is logged: if the worker
// dies meanwhile, the log shows why its successor repeated something.
const slowSave = 100 * time.Millisecond

func newSaver(f *Follower, register *stream.Register) *saver {
	return &saver{f: f, register: register, results: make(chan error, 1), failed: make(chan error, 1), many: make(chan struct{}, 1)}
}

// took counts a message that was taken. The window has it already, so that a write which
// begins at the same time covers it, or it counts as unsaved.
func (s *saver) took() {
	s.mu.Lock()
	s.unsaved++
	many := s.unsaved == hurryAt
	s.mu.Unlock()
	if many {
		wait.Wake(s.many)
	}
}

// isBehind reports whether too many messages were taken beyond the stored position, or
// too long ago.
func (s *saver) isBehind() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unsaved+s.pending >= unsavedLimit || !s.since.IsZero() && time.Since(s.since) >= unsavedFor
}

// isDue reports whether there is something to store, and whether that may wait.
func (s *saver) isDue() (due, mayWait bool) {
	s.mu.Lock()
	many := s.unsaved >= hurryAt
	s.mu.Unlock()
	return many || s.f.window.dirty(), !many
}

// run stores the position, each time it has changed, until ctx ends.
func (s *saver) run(ctx context.Context) {
	later, slow := stopped(), stopped()
	defer later.Stop()
	defer slow.Stop()
	for {
		changed, many := s.f.window.changes, s.many
		due, mayWait := s.isDue()
		switch pause := time.Until(s.notUntil); {
		case s.writing:
			changed, many = nil, nil
		case !due:
		case pause > 0 && (mayWait || s.failing):
			changed = nil
			later.Reset(pause)
		default:
			changed, many = nil, nil
			s.begin()
			slow.Reset(slowSave)
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-many:
		case <-later.C:
		case <-slow.C:
			s.f.log.Debug("position not stored yet")
		case err := <-s.results:
			slow.Stop()
			if err := s.finished(err); err != nil {
				s.failed <- err
				return
			}
			s.f.window.wakeUp() // the follower may have waited for it
		}
	}
}

// stopped returns a timer that does not run.
func stopped() *time.Timer {
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	return timer
}

// begin begins to store the position.
func (s *saver) begin() {
	s.mu.Lock()
	pos := s.f.window.position()
	s.pending, s.unsaved = s.unsaved, 0
	now := time.Now()
	if s.since.IsZero() {
		s.since = now
	}
	s.mu.Unlock()
	pos.Owner, pos.Stream = s.f.owner, s.f.made
	s.writing, s.notUntil = true, now.Add(s.f.stage.saveEvery)
	s.register.Put(pos.encode(), func(err error) {
		s.results <- err // one write at a time: never full
	})
}

// finished handles the answer to a write of the position.
func (s *saver) finished(err error) error {
	s.writing, s.failing = false, err != nil
	s.trouble.Note(err)
	s.mu.Lock()
	if err == nil {
		s.pending, s.since = 0, time.Time{}
	} else {
		s.unsaved, s.pending = s.unsaved+s.pending, 0
	}
	s.mu.Unlock()
	if err == nil {
		s.stored = true
		return nil
	}
	s.notUntil = time.Now().Add(wait.RetryPause)
	s.f.window.touch()
	conflict := new(stream.ConflictError)
	if !errors.As(err, &conflict) {
		s.f.log.Warn("position not stored, trying again", "error", err)
		return nil
	}
	// A position that is gone or unreadable is not a take-over.
	switch {
	case !isPosition(conflict.Found):
		s.register.Adopt(conflict)
		return nil
	case !s.stored: // the predecessor wrote once more before this worker took over
		return fmt.Errorf("%s partition %d: %w: %w", s.f.stage.Name, s.f.part, ErrDisturbed, conflict)
	}
	return s.f.fencedBy(conflict)
}

// storeLast stores the final position, after run has ended.
func (s *saver) storeLast() error {
	s.f.window.touch()
	ctx, cancel := context.WithTimeout(context.Background(), stream.RequestTimeout)
	defer cancel()
	for s.writing || s.f.window.dirty() {
		if !s.writing {
			s.begin()
		}
		select {
		case answer := <-s.results:
			if err := s.finished(answer); err != nil {
				return err
			}
			if conflict := new(stream.ConflictError); answer != nil && !errors.As(answer, &conflict) {
				return fmt.Errorf("store last position: %w", answer)
			}
		case <-ctx.Done():
			return fmt.Errorf("store last position: %w", errors.Join(stream.ErrUnknownOutcome, ctx.Err()))
		}
	}
	return nil
}
