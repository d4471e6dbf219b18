package stream

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// getsInFlight is how many messages are requested by their sequences at the same time.
const getsInFlight = 256

// Bodies returns messages of NOTIFICATIONS by their sequences, without those that were
// removed. It sends the requests without waiting in between; each costs the server a look
// into one block, whatever else the stream holds.
func (c *Conn) Bodies(ctx context.Context, seqs []uint64) (bodies map[uint64][]byte, err error) {
	bodies = make(map[uint64][]byte, len(seqs))
	for len(seqs) > 0 {
		some := seqs[:min(len(seqs), getsInFlight)]
		seqs = seqs[len(some):]
		if err := c.getAll(ctx, some, bodies); err != nil {
			return nil, fmt.Errorf("read %s by sequence: %w", Notifications, err)
		}
	}
	return bodies, nil
}

// getAll requests some messages and waits for all answers.
func (c *Conn) getAll(ctx context.Context, seqs []uint64, bodies map[uint64][]byte) error {
	ctx, cancel := context.WithTimeout(ctx, RequestTimeout)
	defer cancel()
	nc, _, err := c.reading()
	if err != nil {
		return err
	}
	seqs = slices.DeleteFunc(slices.Clone(seqs), func(seq uint64) bool { return c.logAt(seq) == "" })
	inbox := nats.NewInbox()
	answers := make(chan *nats.Msg, len(seqs))
	sub, err := nc.ChanSubscribe(inbox+".*", answers)
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only on a connection that is closed
	for _, seq := range seqs {
		reply := inbox + "." + strconv.FormatUint(seq, 10)
		if err := nc.PublishRequest("$JS.API.DIRECT.GET."+c.logAt(seq), reply, Query{From: seq}.encode()); err != nil {
			return err
		}
	}
	var missing []uint64
	for range seqs {
		select {
		case m := <-answers:
			seq, err := strconv.ParseUint(m.Subject[len(inbox)+1:], 10, 64)
			switch status := m.Header.Get("Status"); {
			case err != nil:
				return err
			case status == "404":
				missing = append(missing, seq)
			case status != "":
				return fmt.Errorf("%w: %s %s", errShortRead, status, m.Header.Get("Description"))
			case m.Header.Get(jetstream.SequenceHeader) != "":
				bodies[seq] = m.Data
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for _, seq := range missing { // removed, or the replica that answered is behind
		if err := c.checkRemoved(ctx, seq); err != nil {
			return err
		}
	}
	return nil
}

// checkRemoved confirms with the leader that a message of NOTIFICATIONS, which a replica does
// not have, was removed. If not, the replica is behind. A leader that was cut off, and does
// not know the sequence yet, does not count.
func (c *Conn) checkRemoved(ctx context.Context, seq uint64) error {
	name := c.logAt(seq)
	_, end, err := c.StreamEnd(ctx, name)
	if err != nil {
		return fmt.Errorf("look for message %d: %w", seq, err)
	}
	msg, err := c.AskLeader(ctx, name, Query{From: seq})
	if err == nil && (msg != nil || end < seq) {
		err = ErrBehind
	}
	return err
}

// errCodeNoSequence is the server's error code for a sequence at which a stream has nothing.
const errCodeNoSequence jetstream.ErrorCode = 10043

// DeleteLogged deletes a message of NOTIFICATIONS without waiting. done is called once, in
// another goroutine, and must not block. A message that is gone already counts as deleted.
func (c *Conn) DeleteLogged(seq uint64, done func(error)) {
	name := c.logAt(seq)
	if name == "" {
		time.AfterFunc(0, func() { done(nil) })
		return
	}
	raw, err := json.Marshal(map[string]any{"seq": seq, "no_erase": true}) // to overwrite it would write its whole block anew
	if err != nil {                                                        // cannot happen for a number
		return
	}
	c.askAsync(&nats.Msg{Subject: "$JS.API.STREAM.MSG.DELETE." + name, Data: raw}, func(answer *nats.Msg, err error) {
		var response struct {
			Error *jetstream.APIError `json:"error"`
		}
		if err == nil {
			err = json.Unmarshal(answer.Data, &response)
		}
		if e := response.Error; err == nil && e != nil && e.ErrorCode != errCodeNoSequence && !strings.Contains(e.Description, "no message found") {
			err = e
		}
		done(err)
	})
}

// LoggedAt returns when the message at a sequence of a stream was stored, according to the
// leader, or the zero time if there is none.
func (c *Conn) LoggedAt(ctx context.Context, stream string, seq uint64) (time.Time, error) {
	msg, err := c.AskLeader(ctx, stream, Query{From: seq})
	if err != nil || msg == nil {
		return time.Time{}, err
	}
	return msg.Time, nil
}

// FirstAfter returns the sequence of the first message of a stream that matches filter and was
// stored after a time, according to the leader, or 0 if there is none.
func (c *Conn) FirstAfter(ctx context.Context, stream, filter string, at time.Time) (uint64, error) {
	since := at.Add(1)
	msg, err := c.AskLeader(ctx, stream, Query{Next: filter, Since: &since})
	if err != nil || msg == nil {
		return 0, err
	}
	return msg.Sequence, nil
}

// NoneBetween reports whether a stream has no message that matches filter after one sequence
// and up to another. It fails if the server that takes itself for the leader does not know
// the latter yet.
func (c *Conn) NoneBetween(ctx context.Context, stream, filter string, after, upTo uint64) (bool, error) {
	_, end, err := c.StreamEnd(ctx, stream)
	switch {
	case err != nil:
		return false, err
	case end < upTo:
		return false, fmt.Errorf("read %s: %w", stream, ErrBehind)
	}
	next, err := c.AskLeader(ctx, stream, Query{Next: filter, From: after + 1})
	return err == nil && (next == nil || next.Sequence > upTo), err
}
