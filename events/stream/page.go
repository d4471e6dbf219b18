package stream

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
)

// logPage is how many messages one read of a log asks for.
const logPage = 256

// headerPending is the header with the number of messages that a batched read has left.
const headerPending = "Nats-Num-Pending"

// errShortRead is returned when a page of a log was cut short.
var errShortRead = errors.New("read was cut short")

// readLog yields the messages of a stream that match filter, in order, from
// the given sequence to the end of what is stored. It ends with the first
// error.
func (c *Conn) readLog(ctx context.Context, stream, filter string, from uint64) iter.Seq2[*jetstream.RawStreamMsg, error] {
	return func(yield func(*jetstream.RawStreamMsg, error) bool) {
		for {
			page, pending, err := c.ReadPage(ctx, stream, filter, from, logPage)
			if err != nil {
				yield(nil, err)
				return
			}
			for _, msg := range page {
				if !yield(msg, nil) {
					return
				}
				from = msg.Sequence + 1
			}
			if pending == 0 {
				return
			}
		}
	}
}

// ReadPage reads up to limit messages that match filter, from a sequence on. pending is
// how many more there are.
func (c *Conn) ReadPage(ctx context.Context, stream, filter string, from uint64, limit int) (page []*jetstream.RawStreamMsg, pending int, err error) {
	ctx, cancel := context.WithTimeout(ctx, RequestTimeout)
	defer cancel()
	_, js, err := c.reading()
	if err != nil {
		return nil, 0, err
	}
	msgs, err := jetstreamext.GetBatch(ctx, js, stream, limit,
		jetstreamext.GetBatchSeq(max(from, 1)), jetstreamext.GetBatchSubject(filter))
	if err != nil {
		return nil, 0, fmt.Errorf("read %s: %w", stream, err)
	}
	for msg, err := range msgs {
		if errors.Is(err, jetstreamext.ErrNoMessages) {
			return nil, 0, nil
		}
		if err != nil {
			return nil, 0, fmt.Errorf("read %s: %w", stream, err)
		}
		page = append(page, msg)
	}
	if len(page) == 0 {
		return nil, 0, fmt.Errorf("read %s: %w", stream, errShortRead)
	}
	pending, err = strconv.Atoi(page[len(page)-1].Header.Get(headerPending))
	if err != nil {
		return nil, 0, fmt.Errorf("read %s: pending count: %w", stream, err)
	}
	return page, pending, nil
}

// ClockSkew is the largest difference between the clocks of two NATS servers that is
// allowed for.
const ClockSkew = time.Minute

// FirstSince returns the first message on a subject that was stored since a time, or nil
// if the replica that answers knows none.
func (c *Conn) FirstSince(ctx context.Context, stream, subject string, since time.Time) (*jetstream.RawStreamMsg, error) {
	ctx, cancel := context.WithTimeout(ctx, RequestTimeout)
	defer cancel()
	_, js, err := c.reading()
	if err != nil {
		return nil, err
	}
	msgs, err := jetstreamext.GetBatch(ctx, js, stream, 1,
		jetstreamext.GetBatchStartTime(since), jetstreamext.GetBatchSubject(subject))
	if err != nil {
		return nil, fmt.Errorf("look into %s: %w", stream, err)
	}
	for msg, err := range msgs {
		if errors.Is(err, jetstreamext.ErrNoMessages) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("look into %s: %w", stream, err)
		}
		return msg, nil
	}
	return nil, fmt.Errorf("look into %s: %w", stream, errShortRead)
}
