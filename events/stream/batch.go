package stream

import (
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// Batch is a set of messages that are written together with one callback. One goroutine
// uses it.
type Batch struct {
	conn     *Conn
	address  address
	deadline time.Time
	weight   int64 // of its messages, see [Weight]

	// One of them is called when the batch is over.
	done     func(error)
	logged   func(weight int64, err error)     // of messages of NOTIFICATIONS
	answered func(answer *nats.Msg, err error) // of a request

	// The writer's mutex guards these.
	remaining int
	sealed    bool // no more messages will be added
	err       error
	answer    *nats.Msg // to a request
}

// messageOverhead is roughly what a message costs beside its data.
const messageOverhead = 512

// Weight returns roughly how many bytes of memory a message takes until it is stored, by the
// length of its data.
func Weight(length int) int64 { return int64(length) + messageOverhead }

// NewBatch begins a batch. done is called exactly once, after [Batch.Send]: with nil when all
// its messages are stored, or with the first error. After an error that wraps
// [ErrUnknownOutcome] any of the messages may have been stored. done must not block, and is
// never called from within Send.
func (c *Conn) NewBatch(done func(error)) *Batch { return c.begin(&Batch{done: done}) }

// NewLogBatch is [Conn.NewBatch] for messages of NOTIFICATIONS: [Conn.LogEnd] includes what was
// stored of it, and done receives the batch's weight.
func (c *Conn) NewLogBatch(done func(weight int64, err error)) *Batch {
	return c.begin(&Batch{logged: done})
}

// askAsync sends one request. done receives the answer, under the terms of
// [Conn.NewBatch].
func (c *Conn) askAsync(question *nats.Msg, done func(answer *nats.Msg, err error)) {
	b := c.begin(&Batch{answered: done})
	b.Add(question.Subject, question.Header, question.Data)
	b.Send()
}

func (c *Conn) begin(b *Batch) *Batch {
	b.conn, b.deadline = c, time.Now().Add(RequestTimeout)
	w := c.writer
	w.mu.Lock()
	defer w.mu.Unlock()
	b.address = w.address()
	w.pending[b.address.id] = b
	if !w.watched {
		w.watched = true
		time.AfterFunc(watchInterval, w.watch)
	}
	return b
}

// Weight returns the weight of the messages that were added.
func (b *Batch) Weight() int64 { return b.weight }

// Add publishes one message of the batch. data is not kept.
func (b *Batch) Add(subject string, header nats.Header, data []byte) {
	w := b.conn.writer
	b.weight += Weight(len(data))
	w.mu.Lock()
	b.remaining++
	failed := b.err != nil
	w.mu.Unlock()
	if failed {
		return // the batch has failed; Send reports it
	}
	if err := b.publish(subject, header, data); err != nil {
		w.mu.Lock()
		b.fail(fmt.Errorf("publish: %w", err))
		w.mu.Unlock()
	}
}

func (b *Batch) publish(subject string, header nats.Header, data []byte) error {
	nc, reply := b.conn.writer.nc, b.address.subject
	if header == nil { // the hot path: no message to build
		return nc.PublishRequest(subject, reply, data)
	}
	return nc.PublishMsg(&nats.Msg{Subject: subject, Reply: reply, Header: header, Data: data})
}

// Send completes the batch: no more messages are added.
func (b *Batch) Send() {
	w := b.conn.writer
	w.mu.Lock()
	b.sealed = true
	finished := w.takeIfFinished(b)
	w.mu.Unlock()
	if finished { // it failed already; its callback may want locks that the caller holds
		time.AfterFunc(0, b.over)
	}
}

// received records an answer, and what it is as an acknowledgement. The caller holds the mutex.
func (b *Batch) received(msg *nats.Msg, seq uint64, err error) {
	b.remaining--
	switch {
	case b.answered != nil:
		b.answer = msg
	case err != nil:
		b.fail(err)
	case b.logged != nil:
		b.conn.NoteLogged(seq)
	}
}

// fail records the first error. The caller holds the mutex.
func (b *Batch) fail(err error) {
	if b.err == nil {
		b.err = err
	}
}

// over calls back, after the batch was taken from the writer.
func (b *Batch) over() {
	switch {
	case b.answered != nil:
		b.answered(b.answer, b.err)
	case b.logged != nil:
		b.logged(b.weight, b.err)
	default:
		b.done(b.err)
	}
}
