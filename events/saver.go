package events

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// saver stores a follower's position: one write at a time, each on the
// condition that nobody else wrote since the last. The goroutine of
// [Follower.Run] owns it; answers come through results.
type saver struct {
	revision uint64 // of the position as it is stored
	unsaved  int    // messages taken since the last position was read off
	pending  int    // what unsaved was when the write that is out began
	writing  bool
	since    time.Time // when the first write began since one was stored; zero if it was stored
	notUntil time.Time
	timer    *time.Timer
	armed    bool
	results  chan saveResult
}

type saveResult struct {
	revision uint64
	err      error
}

func newSaver(revision uint64) saver {
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	return saver{revision: revision, timer: timer, results: make(chan saveResult, 1)}
}

// isBehind says whether too much was taken beyond the stored position, or too long
// ago.
func (s *saver) isBehind() bool {
	return s.unsaved+s.pending >= unsavedLimit || !s.since.IsZero() && time.Since(s.since) >= unsavedFor
}

// save begins to store the position if that is due, and returns a channel that
// says when to look again if it will be.
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
	pos.Owner, pos.Stream, pos.Clean, pos.revision = f.owner, f.made, f.ending, s.revision
	s.writing, s.pending, s.unsaved = true, s.unsaved, 0
	now := time.Now()
	s.notUntil = now.Add(saveInterval)
	if s.since.IsZero() {
		s.since = now
	}
	f.conn.savePosition(f.stage, f.part, pos, func(revision uint64, err error) {
		s.results <- saveResult{revision, err} // one write at a time: never full
	})
}

// saveFinished takes in the answer to a write of the position.
func (f *Follower) saveFinished(ctx context.Context, res saveResult) error {
	s := &f.saver
	s.writing = false
	f.unsaved.note(res.err)
	if res.err == nil {
		s.revision, s.pending, s.since = res.revision, 0, time.Time{}
		return nil
	}
	s.unsaved, s.pending = s.unsaved+s.pending, 0
	s.notUntil = time.Now().Add(retryWait)
	f.window.touch()
	if isConflict(res.err) {
		return f.resolveConflict(ctx)
	}
	f.log.Warn("position not stored, trying again", "error", res.err)
	return nil
}

// resolveConflict finds out who wrote the position that is newer than ours. It
// may be our own write whose answer was lost. One that is gone or that nobody can read
// takes the partition from nobody: ours is written over it.
func (f *Follower) resolveConflict(ctx context.Context) error {
	pos, err := f.conn.loadPosition(ctx, f.stage, f.part)
	if err != nil {
		f.log.Warn("position not read, trying again", "error", err)
		return nil
	}
	if pos.revision != 0 && !pos.lost && pos.Owner != f.owner {
		return fmt.Errorf("%s partition %d: %w", f.stage.Name, f.part, ErrFenced)
	}
	f.saver.revision = pos.revision
	return nil
}

// storeLast stores the position once more when the work has ended.
func (f *Follower) storeLast() error {
	s := &f.saver
	f.ending = true
	f.window.touch()
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	for s.writing || f.window.dirty() {
		if !s.writing {
			f.beginSave()
		}
		select {
		case res := <-s.results:
			if err := f.saveFinished(ctx, res); err != nil {
				return err
			}
			if res.err != nil && !isConflict(res.err) {
				return fmt.Errorf("store last position: %w", res.err)
			}
		case <-ctx.Done():
			return fmt.Errorf("store last position: %w", errors.Join(ErrUnknownOutcome, ctx.Err()))
		}
	}
	return nil
}
