package partition

import (
	"context"
	"errors"
	"fmt"
	"time"

	"poked/events/stream"
)

// A stage that writes to NOTIFICATIONS stores with its position after which sequence
// everything is that its open messages have written. A successor reads NOTIFICATIONS from
// there, once, to find out what was stored (package match), instead of asking for each
// message. See [Position.Log].

// mark looks where the stream that is read and NOTIFICATIONS end, after the follower has
// made a consumer: NATS may have restarted, and have lost the end of a stream. Until it
// knows, nothing is received.
func (f *Follower) mark(ctx context.Context) error {
	err := f.checkEnd(ctx)
	if errors.Is(err, ErrDisturbed) {
		return err
	}
	var end stream.LogMark
	if err == nil && f.stage.writes {
		end, err = f.conn.ReadLogEnd(ctx)
	}
	if err != nil {
		f.tail.Drop(fmt.Errorf("look where the log ends: %w", err))
		return nil
	}
	f.reopened = false
	if f.stage.writes {
		f.window.cut(end)
		f.advance()
	}
	if f.handler.Lease.Held() {
		f.handler.Tick(ctx, time.Now()) // it may wait for the end of what there is
	}
	return nil
}

// checkEnd returns an error that wraps [ErrDisturbed] if the newest message that was received
// is not in the stream any more: the stream has lost its end, as after a power cut, and gives
// out sequences again. Then the work begins again from what is left.
func (f *Follower) checkEnd(ctx context.Context) error {
	if f.lastAt.IsZero() {
		return nil
	}
	_, end, err := f.conn.StreamEnd(ctx, f.stream)
	if err != nil {
		return err
	}
	at, err := f.conn.LoggedAt(ctx, f.stream, f.last)
	switch {
	case err != nil:
		return err
	case end < f.last, !at.IsZero() && !at.Equal(f.lastAt):
		return fmt.Errorf("%s partition %d: the stream has lost its end: %w", f.stage.Name, f.part, ErrDisturbed)
	}
	return nil
}

// confirmReplayed asks the leader, when the consumer has no more messages, whether the
// stream has none up to Cursor either: the replica of the consumer may be behind, and what a
// predecessor handled may be gone.
func (f *Follower) confirmReplayed(ctx context.Context) {
	if !f.drained || f.replayed.Load() {
		return
	}
	f.drained = false
	none, err := f.conn.NoneBetween(ctx, f.stream, f.filter(), f.last, f.begin)
	if err != nil {
		f.tail.Drop(err)
	}
	f.replayed.Store(none)
}

// noteLog records what the receipt of a message says about the log, when pending more
// messages of the partition follow.
func (f *Follower) noteLog(seq, pending uint64) {
	if f.stage.stream == stream.Notifications {
		f.conn.NoteLogged(seq)
	}
	f.caughtUp = f.caughtUp || pending == 0 || seq >= f.stored || f.suspects <= 0
}

// advance moves the mark for later messages to the newest known message of NOTIFICATIONS.
// While messages may follow that the predecessor handled, its own mark counts.
func (f *Follower) advance() {
	if f.stage.writes && !f.reopened && f.caughtUp {
		f.window.advance(f.conn.LogEnd())
	}
}

// logFor returns after which place in NOTIFICATIONS everything is that a message, which is
// received now, has caused or will cause.
func (f *Follower) logFor(msg *Message) stream.LogMark {
	switch {
	case !f.stage.writes:
		return nil
	case msg.Replayed:
		return f.before
	}
	return f.conn.LogEnd()
}
