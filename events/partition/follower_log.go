package partition

import (
	"context"
	"fmt"

	"poked/events/stream"
)

// A stage that writes to NOTIFICATIONS stores with its position after which sequence
// everything is that its open messages have written. A successor reads NOTIFICATIONS from
// there, once, to find out what was stored (package match), instead of asking for each
// message. See [Position.Log].

// mark looks where NOTIFICATIONS ends, after the follower has made a consumer: NATS may
// have restarted, and have lost the end of the stream. Until it knows, nothing is received.
func (f *Follower) mark(ctx context.Context) {
	if !f.reopened {
		return
	}
	if !f.stage.writes {
		f.reopened = false
		return
	}
	_, end, err := f.conn.StreamEnd(ctx, stream.Notifications)
	if err != nil {
		f.tail.Drop(fmt.Errorf("look where the log ends: %w", err))
		return
	}
	f.reopened = false
	f.conn.CutLog(end)
	f.window.cut(end)
	f.advance()
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

// logFor returns after which sequence of NOTIFICATIONS everything is that a message, which
// is received now, has caused or will cause.
func (f *Follower) logFor(msg *Message) uint64 {
	switch {
	case !f.stage.writes:
		return 0
	case msg.Replayed:
		return f.before
	}
	return f.conn.LogEnd()
}
