package stream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ErrUnknownOutcome is wrapped by the error of a write that was sent and got no answer:
// it may or may not have been stored.
var ErrUnknownOutcome = errors.New("outcome of the write is unknown")

// ErrNoStreams means that no stream accepts what was published: no registry or dispatcher
// has set up the topology, or the stream has no leader for a moment.
var ErrNoStreams = errors.New("no stream takes it")

// Publish publishes one message and returns nil only when a stream has stored it.
func (c *Conn) Publish(ctx context.Context, msg *nats.Msg) error {
	_, err := c.js.PublishMsg(ctx, msg)
	if errors.Is(err, jetstream.ErrNoStreamResponse) {
		return fmt.Errorf("publish: %w", ErrNoStreams)
	}
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	return nil
}

// writer publishes to streams without waiting, and calls back when the server has stored
// the messages. Several messages may share one callback, as the notifications of one room
// event do; nats.go's own asynchronous publishing keeps a future for each message, which
// costs more than twice as much.
//
// Acknowledgements arrive on <inbox>.<number of the address>. Callbacks run in the goroutine
// of that subscription and must not block.
type writer struct {
	nc    *nats.Conn
	log   *slog.Logger
	inbox string // with the trailing dot

	mu      sync.Mutex
	last    uint64            // address that was made
	pending map[uint64]*Batch // by address
	spare   []address         // of batches that are over, the one that has rested longest first
	watched bool              // a timer will look for overdue batches
}

func newWriter(nc *nats.Conn, log *slog.Logger) (*writer, error) {
	w := &writer{nc: nc, log: log, inbox: nats.NewInbox() + ".", pending: map[uint64]*Batch{}}
	sub, err := nc.Subscribe(w.inbox+"*", w.acknowledged)
	if err != nil {
		return nil, fmt.Errorf("subscribe to acknowledgements: %w", err)
	}
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return nil, fmt.Errorf("lift limits of acknowledgements: %w", err)
	}
	return w, nil
}

// address is where the answers to one batch arrive.
type address struct {
	id      uint64
	subject string
}

// spareAddresses is how many addresses rest before one is used again.
const spareAddresses = 128

// address returns an address that no batch in flight has. That of a batch which has had all its
// answers is used again after some others: the server remembers where a subject leads, and would
// look for each new one. That of a batch which was given up never is, since its answer may
// still come. The caller holds the mutex.
func (w *writer) address() address {
	if len(w.spare) > spareAddresses {
		next := w.spare[0]
		w.spare = w.spare[1:]
		return next
	}
	w.last++
	return address{w.last, w.inbox + strconv.FormatUint(w.last, 36)}
}

// takeIfFinished removes a batch that has all its answers, or has failed. The
// caller holds the mutex and calls over after releasing it.
func (w *writer) takeIfFinished(b *Batch) bool {
	if !b.sealed || (b.remaining > 0 && b.err == nil) || w.pending[b.address.id] != b {
		return false
	}
	delete(w.pending, b.address.id)
	if b.remaining == 0 {
		w.spare = append(w.spare, b.address)
	}
	return true
}

func (w *writer) acknowledged(msg *nats.Msg) {
	id, err := strconv.ParseUint(strings.TrimPrefix(msg.Subject, w.inbox), 36, 64)
	if err != nil {
		w.log.Warn("acknowledgement on a strange subject", "error", err)
		return
	}
	seq, ackErr := readAck(msg)
	w.mu.Lock()
	b := w.pending[id]
	if b == nil { // failed before, or timed out
		w.mu.Unlock()
		return
	}
	b.received(msg, seq, ackErr)
	finished := w.takeIfFinished(b)
	w.mu.Unlock()
	if finished {
		b.over()
	}
}

// readAck parses a publish acknowledgement: {"stream":…,"seq":N}, an error, or the header
// for a subject that no stream listens on.
func readAck(msg *nats.Msg) (uint64, error) {
	if len(msg.Data) == 0 {
		return 0, fmt.Errorf("publish: %w", ErrNoStreams)
	}
	if seq, ok := plainSeq(msg.Data); ok {
		return seq, nil
	}
	var ack struct {
		Seq   uint64              `json:"seq"`
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(msg.Data, &ack); err != nil {
		return 0, fmt.Errorf("read acknowledgement: %w", err)
	}
	if ack.Error != nil {
		return 0, fmt.Errorf("publish: %w", ack.Error)
	}
	return ack.Seq, nil
}

// plainSeq reads the sequence of an ordinary acknowledgement without decoding the
// document, since this runs once for each notification.
func plainSeq(ack []byte) (uint64, bool) {
	if bytes.Contains(ack, []byte(`"error"`)) {
		return 0, false
	}
	_, rest, ok := bytes.Cut(ack, []byte(`"seq":`))
	if !ok {
		return 0, false
	}
	var seq uint64
	digits := 0
	for ; digits < len(rest) && rest[digits] >= '0' && rest[digits] <= '9'; digits++ {
		seq = seq*10 + uint64(rest[digits]-'0')
	}
	return seq, digits > 0
}

// watchInterval is how often the writer looks for overdue batches while any is pending.
const watchInterval = RequestTimeout / 10

// watch fails overdue batches, and runs again until none is pending.
func (w *writer) watch() {
	now := time.Now()
	w.finish(ErrUnknownOutcome, func(b *Batch) bool { return b.sealed && now.After(b.deadline) })
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.watched = len(w.pending) > 0; w.watched {
		time.AfterFunc(watchInterval, w.watch)
	}
}

// failAll fails every pending batch, because the connection for its answer is gone.
func (w *writer) failAll(err error) {
	w.finish(err, func(*Batch) bool { return true })
}

func (w *writer) finish(err error, pick func(*Batch) bool) {
	var finished []*Batch
	w.mu.Lock()
	for _, b := range w.pending {
		if !pick(b) {
			continue
		}
		b.fail(err)
		if w.takeIfFinished(b) {
			finished = append(finished, b)
		}
	}
	w.mu.Unlock()
	for _, b := range finished {
		b.over()
	}
}
