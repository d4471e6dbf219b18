package operator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"poked/events"
	"poked/events/stream"
)

// ErrNoDeadLetter is wrapped by errors about a sequence at which there is no dead letter,
// or none any more.
var ErrNoDeadLetter = errors.New("no such dead letter")

// StoredDeadLetter is a dead letter in the stream DEAD.
type StoredDeadLetter struct {
	Seq uint64 // in DEAD; operators name the letter by it
	events.DeadLetter
}

// DeadFilter selects dead letters. A letter must match every field that is set; the zero
// value selects all.
type DeadFilter struct {
	User         events.UserID
	Room         events.RoomID
	Reason       events.DeadReason
	AppID        string
	Since, Until time.Time // when the letter was written, both ends included
	Seqs         []uint64  // in DEAD
}

// Narrows reports whether the filter excludes anything.
func (f *DeadFilter) Narrows() bool {
	return f.User != "" || f.Room != "" || f.Reason != "" || f.AppID != "" ||
		!f.Since.IsZero() || !f.Until.IsZero() || len(f.Seqs) > 0
}

func (f *DeadFilter) admits(l *StoredDeadLetter) bool {
	return (f.User == "" || f.User == l.UserID) && (f.Room == "" || f.Room == l.RoomID) &&
		(f.Reason == "" || f.Reason == l.Reason) && (f.AppID == "" || f.AppID == l.AppID) &&
		(f.Since.IsZero() || !l.At.Before(f.Since)) && (f.Until.IsZero() || !l.At.After(f.Until))
}

// subject returns the subject filter of all letters that the filter may admit.
func (f *DeadFilter) subject() string {
	if f.User == "" {
		return "dead.*.*"
	}
	return "dead.*." + events.Token(f.User)
}

// deadPage is how many letters one request reads: each may have half a MiB.
const deadPage = 32

// DeadLetters yields the dead letters that filter admits and that are in the stream when
// it begins, oldest first. It ends with the first error.
func (c *Client) DeadLetters(ctx context.Context, filter DeadFilter) iter.Seq2[StoredDeadLetter, error] {
	read := c.deadPages(ctx, filter)
	if len(filter.Seqs) > 0 {
		read = c.deadBySeq(ctx, filter.Seqs)
	}
	return func(yield func(StoredDeadLetter, error) bool) {
		for letter, err := range read {
			if err != nil {
				yield(StoredDeadLetter{}, err)
				return
			}
			if filter.admits(&letter) && !yield(letter, nil) {
				return
			}
		}
	}
}

func (c *Client) deadPages(ctx context.Context, filter DeadFilter) iter.Seq2[StoredDeadLetter, error] {
	return func(yield func(StoredDeadLetter, error) bool) {
		from, last, err := c.deadRange(ctx, filter)
		for err == nil && from <= last {
			var page []*jetstream.RawStreamMsg
			var pending int
			page, pending, err = c.conn.ReadPage(ctx, stream.Dead, filter.subject(), from, deadPage)
			for _, msg := range page {
				late := !filter.Until.IsZero() && msg.Time.After(filter.Until.Add(stream.ClockSkew))
				if msg.Sequence > last || late || !yield(readDead(msg), nil) {
					return
				}
				from = msg.Sequence + 1
			}
			if pending == 0 {
				break
			}
		}
		if err != nil {
			yield(StoredDeadLetter{}, err)
		}
	}
}

// deadRange returns the first sequence that the filter may admit, and the last one of the
// stream.
func (c *Client) deadRange(ctx context.Context, filter DeadFilter) (from, last uint64, err error) {
	info, err := c.conn.Stream(stream.Dead).Info(ctx)
	if err != nil {
		return 0, 0, fmt.Errorf("look up stream %s: %w", stream.Dead, err)
	}
	from, last = 1, info.State.LastSeq
	if filter.Since.IsZero() {
		return from, last, nil
	}
	first, err := c.conn.FirstSince(ctx, stream.Dead, filter.subject(), filter.Since.Add(-stream.ClockSkew))
	if err != nil || first == nil {
		return 1, 0, err // nothing
	}
	return first.Sequence, last, nil
}

func (c *Client) deadBySeq(ctx context.Context, seqs []uint64) iter.Seq2[StoredDeadLetter, error] {
	return func(yield func(StoredDeadLetter, error) bool) {
		for _, seq := range slices.Compact(slices.Sorted(slices.Values(seqs))) {
			letter, err := c.DeadLetter(ctx, seq)
			if errors.Is(err, ErrNoDeadLetter) {
				continue
			}
			if !yield(letter, err) || err != nil {
				return
			}
		}
	}
}

// DeadLetter returns the dead letter at a sequence of DEAD, or [ErrNoDeadLetter].
func (c *Client) DeadLetter(ctx context.Context, seq uint64) (StoredDeadLetter, error) {
	msg, err := c.conn.Stream(stream.Dead).GetMsg(ctx, seq)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return StoredDeadLetter{}, fmt.Errorf("dead letter %d: %w", seq, ErrNoDeadLetter)
	}
	if err != nil {
		return StoredDeadLetter{}, fmt.Errorf("read dead letter %d: %w", seq, err)
	}
	return readDead(msg), nil
}

func readDead(msg *jetstream.RawStreamMsg) StoredDeadLetter {
	letter := StoredDeadLetter{Seq: msg.Sequence}
	if err := json.Unmarshal(msg.Data, &letter.DeadLetter); err != nil {
		letter.DeadLetter = events.DeadLetter{Reason: events.DeadUnreadable, At: msg.Time}
	}
	return letter
}

// DropDead deletes a dead letter. It returns [ErrNoDeadLetter] if there is none.
func (c *Client) DropDead(ctx context.Context, seq uint64) error {
	err := c.conn.Stream(stream.Dead).DeleteMsg(ctx, seq)
	if err == nil {
		return nil
	}
	// The server has no error code for a message that does not exist.
	if _, getErr := c.DeadLetter(ctx, seq); errors.Is(getErr, ErrNoDeadLetter) {
		return getErr
	}
	return fmt.Errorf("delete dead letter %d: %w", seq, err)
}
