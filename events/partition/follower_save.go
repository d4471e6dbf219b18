package partition

import (
	"context"
	"errors"
	"fmt"
	"time"

	"poked/events/stream"
	"poked/events/wait"
)

// save begins to store the position if that is due. If it will be due later, it returns a
// channel that fires then.
func (f *Follower) save() <-chan time.Time {
	s := &f.saver
	if s.writing || !f.window.dirty() && s.unsaved < unsavedLimit {
		return nil
	}
	if wait := time.Until(s.notUntil); wait > 0 {
		if !s.armed {
			s.timer.Reset(wait)
			s.armed = true
		}
		return s.timer.C
	}
	s.armed = false
	f.beginSave()
	return nil
}

func (f *Follower) beginSave() {
	s := &f.saver
	pos := f.window.position()
	pos.Owner, pos.Stream, pos.Clean = f.owner, f.made, f.ending
	s.writing, s.pending, s.unsaved = true, s.unsaved, 0
	now := time.Now()
	s.notUntil = now.Add(saveInterval)
	if s.since.IsZero() {
		s.since = now
	}
	s.register.Put(pos.encode(), func(err error) {
		s.results <- err // one write at a time: never full
	})
}

// saveFinished handles the answer to a write of the position.
func (f *Follower) saveFinished(err error) error {
	s := &f.saver
	s.writing = false
	f.unsaved.Note(err)
	if err == nil {
		s.pending, s.since, s.stored = 0, time.Time{}, true
		return nil
	}
	s.unsaved, s.pending = s.unsaved+s.pending, 0
	s.notUntil = time.Now().Add(wait.RetryPause)
	f.window.touch()
	conflict := new(stream.ConflictError)
	if !errors.As(err, &conflict) {
		f.log.Warn("position not stored, trying again", "error", err)
		return nil
	}
	// A position that is gone or unreadable is not a take-over.
	switch {
	case !isPosition(conflict.Found):
		s.register.Adopt(conflict)
		return nil
	case !s.stored: // the predecessor wrote once more before this worker took over
		return fmt.Errorf("%s partition %d: %w: %w", f.stage.Name, f.part, ErrDisturbed, conflict)
	}
	return f.fencedBy(conflict)
}

// isPosition reports whether a record is a position that a worker can have written.
func isPosition(r stream.Record) bool {
	_, err := parsePosition([]byte(r.Value))
	return r.There && err == nil
}

// disturbedBy returns the error for a partition of which another worker wrote a record.
// The position says whose the partition is.
func (f *Follower) disturbedBy(ctx context.Context, conflict *stream.ConflictError) error {
	if pos, err := readPosition(ctx, f.conn, f.stage, f.part); err == nil && pos.Owner == f.owner {
		return fmt.Errorf("%s partition %d: %w: %w", f.stage.Name, f.part, ErrDisturbed, conflict)
	}
	return f.fencedBy(conflict)
}

// fencedBy returns the error for a partition that another worker has taken over.
func (f *Follower) fencedBy(conflict *stream.ConflictError) error {
	return fmt.Errorf("%s partition %d: %w: %w", f.stage.Name, f.part, ErrFenced, conflict)
}

// storeLast stores the final position.
func (f *Follower) storeLast() error {
	s := &f.saver
	f.ending = true
	f.window.touch()
	ctx, cancel := context.WithTimeout(context.Background(), stream.RequestTimeout)
	defer cancel()
	for s.writing || f.window.dirty() {
		if !s.writing {
			f.beginSave()
		}
		select {
		case answer := <-s.results:
			if err := f.saveFinished(answer); err != nil {
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
