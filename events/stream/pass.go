package stream

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Passed is a message that [Conn.Pass] yields.
type Passed struct {
	Seq     uint64
	Subject string
	Data    []byte
	Time    time.Time // when it was stored
}

// Pass yields the messages of a stream that match filter, in order and without a gap, from
// a sequence on: all that the leader had when the pass began. It is by far the cheapest way
// to read much of a stream: the server reads each of its blocks once. A caller that stops
// after few messages, or a pass that has no more, costs the server a few reads and no
// consumer. It ends with the first error.
func (c *Conn) Pass(ctx context.Context, stream, filter string, from uint64) iter.Seq2[Passed, error] {
	return func(yield func(Passed, error) bool) {
		last, err := c.AskLeader(ctx, stream, Query{Last: filter})
		if err != nil {
			yield(Passed{}, err)
			return
		}
		if last == nil || last.Sequence < from {
			return
		}
		p := pass{conn: c, stream: stream, filter: filter, next: max(from, 1), end: last.Sequence}
		if p.begin(ctx, yield) {
			p.run(ctx, yield)
		}
	}
}

// begin reads the first messages, a few at first, and reports whether more are to be read. In a
// cluster a consumer is made, and deleted, by a vote of the servers, so it is not worth it for
// little.
func (p *pass) begin(ctx context.Context, yield func(Passed, error) bool) (more bool) {
	for limit := 16; limit <= logPage; limit *= 4 {
		page, pending, err := p.conn.ReadPage(ctx, p.stream, p.filter, p.next, limit)
		if err != nil {
			yield(Passed{}, err)
			return false
		}
		for _, m := range page {
			if m.Sequence > p.end || !yield(Passed{Seq: m.Sequence, Subject: m.Subject, Data: m.Data, Time: m.Time}, nil) {
				return false
			}
			p.next = m.Sequence + 1
		}
		if p.next > p.end {
			return false
		}
		if pending == 0 {
			break // the rest was removed, or the replica that answered is behind
		}
	}
	return true
}

// pass is one reading of a part of a stream.
type pass struct {
	conn           *Conn
	stream, filter string
	next, end      uint64 // of the messages that are still to be read
	pending        uint64 // messages that a new consumer has
}

// passSilence is how long a pass waits for the next message.
const passSilence = 2 * RequestTimeout

func (p *pass) run(ctx context.Context, yield func(Passed, error) bool) {
	tail := p.tail()
	defer tail.Close()
	tick := time.NewTicker(p.conn.TickInterval())
	defer tick.Stop()
	for heard := time.Now(); p.next <= p.end; {
		select {
		case <-ctx.Done():
			yield(Passed{}, ctx.Err())
			return
		case now := <-tick.C:
			tail.Check(now)
			if now.Sub(heard) > passSilence {
				yield(Passed{}, fmt.Errorf("read %s from %d to %d: %w", p.stream, p.next, p.end, errSilent))
				return
			}
			if now.Sub(heard) > loadPatience {
				p.pending = 0 // what the consumer counted was removed or has expired
			}
			if over, err := p.isOver(ctx, tail); err != nil || over {
				p.fail(err, yield)
				return
			}
		case m := <-tail.Messages(ctx):
			meta, ok := tail.Accept(m)
			if !ok {
				continue
			}
			heard = time.Now()
			if !yield(Passed{Seq: meta.Sequence.Stream, Subject: m.Subject, Data: m.Data, Time: meta.Timestamp}, nil) {
				return
			}
			p.next, p.pending = meta.Sequence.Stream+1, meta.NumPending
			if over, err := p.isOver(ctx, tail); err != nil || over {
				p.fail(err, yield)
				return
			}
		}
	}
}

func (p *pass) fail(err error, yield func(Passed, error) bool) {
	if err != nil {
		yield(Passed{}, err)
	}
}

// tail returns a tail from the next message on.
func (p *pass) tail() *Tail {
	return p.conn.Tail(TailConfig{
		Stream: p.stream, Filter: p.filter, Reader: "pass", Log: p.conn.log, Bulk: true,
		From: func(cfg *jetstream.ConsumerConfig) {
			cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, p.next
		},
		Began: func(pending uint64) { p.pending = pending },
	})
}

// isOver reports, when the consumer has no more messages, whether the leader has none
// either: what was to come may have been removed since.
func (p *pass) isOver(ctx context.Context, tail *Tail) (bool, error) {
	if p.next > p.end || p.pending > 0 || !tail.Connected() {
		return p.next > p.end, nil
	}
	next, err := p.conn.AskLeader(ctx, p.stream, Query{Next: p.filter, From: p.next})
	return err == nil && (next == nil || next.Sequence > p.end), err
}
