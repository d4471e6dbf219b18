package bench

import (
	"context"
	"errors"
	"fmt"

	"poked/dispatcher/deliver"
	"poked/events"
	"poked/events/stream"
)

// writesUnread is how many notifications a user gets before each receipt.
const writesUnread = 5

// receiptKind is a kind of receipt.
type receiptKind struct {
	name   string
	newer  int    // messages after the one that the receipt is for
	thread string // its thread_id, if any
}

// writes counts the writes of receipts.
func (r *unreadRun) writes(ctx context.Context) (err error) {
	w, err := r.world(ctx, 1, 1, 1, deliver.BadgeMessages)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	left := 0
	for _, kind := range []receiptKind{
		{"for the newest message", 0, ""},
		{"for an older message", 2, ""},
		{"for the main timeline", 0, "main"},
		{"for part of the main timeline", 2, "main"},
	} {
		found := unreadWrites{Receipt: kind.name}
		for range r.Receipts {
			cost, err := r.receipt(ctx, w, kind, left)
			if err != nil {
				return fmt.Errorf("count writes of a receipt %s: %w", kind.name, err)
			}
			left = kind.newer
			found.Stored, found.Removals = append(found.Stored, cost.Stored), append(found.Removals, cost.Removed)
		}
		r.progress("%d receipts %s: at most %d writes each", r.Receipts, kind.name, found.most())
		r.report.Writes = append(r.report.Writes, found)
	}
	return nil
}

// receipt sends messages and a receipt for one of them, and returns the writes that the
// receipt causes. left is the number of messages still unread from before.
func (r *unreadRun) receipt(ctx context.Context, w *world, kind receiptKind, left int) (stream.LogWrites, error) {
	room, user := w.rooms[0], w.member(0, 0)
	var upTo events.EventID
	for i := range writesUnread {
		if err := w.publishAll(ctx, 1, func(done func(error)) { w.publishIn(room, done) }); err != nil {
			return stream.LogWrites{}, err
		}
		if i == writesUnread-1-kind.newer {
			upTo = w.latest()
		}
	}
	if _, err := r.seen(ctx, writesUnread); err != nil {
		return stream.LogWrites{}, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, clearedPatience, errors.New("nats does not report the removals"))
	defer cancel()
	read := left + writesUnread - kind.newer
	return w.conn.CountLogWrites(ctx, uint64(read), func() error { //nolint:gosec // it is not negative
		return w.cleared(ctx, read, func() error { return w.read(ctx, user, room, upTo, kind.thread) })
	})
}
