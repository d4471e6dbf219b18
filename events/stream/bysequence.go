package stream

import (
	"context"
	"fmt"
	"strconv"

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
	inbox := nats.NewInbox()
	answers := make(chan *nats.Msg, len(seqs))
	sub, err := nc.ChanSubscribe(inbox+".*", answers)
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only on a connection that is closed
	for _, seq := range seqs {
		reply := inbox + "." + strconv.FormatUint(seq, 10)
		if err := nc.PublishRequest("$JS.API.DIRECT.GET."+Notifications, reply, query{From: seq}.encode()); err != nil {
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
