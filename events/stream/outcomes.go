package stream

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/nats-io/nats.go/jetstream"

	"poked/events"
)

// Traces reports whether what becomes of pokes is to be recorded in OUTCOMES.
func (c *Conn) Traces() bool { return c.topology.TraceFor > 0 }

// PublishAttempts stores attempts of one partition together: lines that
// [events.Attempt.AppendJSON] appended, which are not kept. done is called as for
// [Conn.NewBatch].
func (c *Conn) PublishAttempts(part int, lines []byte, done func(error)) {
	b := c.NewBatch(done)
	b.Add("outcome."+strconv.Itoa(part), nil, s2.Encode(nil, lines))
	b.Send()
}

// maxAttempts bounds what one message of OUTCOMES unpacks to, in bytes.
const maxAttempts = 16 << 20

// Attempts yields the attempts of a user's partition that were stored since a time, in order.
// It reads all attempts of the partition since then, and is for people who ask. Without a
// stream OUTCOMES it yields none.
func (c *Conn) Attempts(ctx context.Context, user events.UserID, since time.Time) iter.Seq2[events.Attempt, error] {
	return func(yield func(events.Attempt, error) bool) {
		if _, err := c.askStream(ctx, streamOutcomes); errors.Is(err, jetstream.ErrStreamNotFound) {
			return
		}
		for msg, err := range c.ReadSince(ctx, streamOutcomes, "outcome."+c.topology.partOf(events.Token(user)), since) {
			if err != nil {
				yield(events.Attempt{}, err)
				return
			}
			for _, a := range c.unpackAttempts(msg) {
				if !yield(a, nil) {
					return
				}
			}
		}
	}
}

// unpackAttempts returns the attempts of one message: those before a mistake, if there is one.
func (c *Conn) unpackAttempts(msg *jetstream.RawStreamMsg) []events.Attempt {
	var lines []byte
	size, err := s2.DecodedLen(msg.Data)
	if err == nil && size > maxAttempts {
		err = fmt.Errorf("it unpacks to %d bytes, the limit is %d", size, maxAttempts)
	}
	if err == nil {
		lines, err = s2.Decode(nil, msg.Data)
	}
	all, badLine := events.ParseAttempts(lines)
	if err = errors.Join(err, badLine); err != nil {
		c.NoteUnreadable(streamOutcomes, msg.Subject, msg.Sequence, err)
	}
	return all
}
