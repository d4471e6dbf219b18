package stream

import (
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// Batch is a set of messages that are written together with one callback. One goroutine
// uses it.
type Batch struct {
	w     *writer
	write *write
}

// NewBatch begins a batch. done is called exactly once, after [Batch.Send]: with the
// stream sequence of the message stored last, or with the first error. After an error
// that wraps [ErrUnknownOutcome] any of the messages may have been stored. done must not
// block, and is never called from within Send.
func (c *Conn) NewBatch(done func(seq uint64, err error)) *Batch {
	w := c.writer
	wr := &write{done: done, deadline: time.Now().Add(RequestTimeout)}
	w.mu.Lock()
	wr.address = w.address()
	w.pending[wr.address.id] = wr
	if !w.watched {
		w.watched = true
		time.AfterFunc(watchInterval, w.watch)
	}
	w.mu.Unlock()
	return &Batch{w: w, write: wr}
}

// NewLogBatch is [Conn.NewBatch] for messages of NOTIFICATIONS: [Conn.LogEnd] includes what was
// stored of it.
func (c *Conn) NewLogBatch(done func(error)) *Batch {
	b := c.NewBatch(func(_ uint64, err error) { done(err) })
	b.write.stored = c.NoteLogged
	return b
}

// Add publishes one message of the batch. data is not kept.
func (b *Batch) Add(subject string, header nats.Header, data []byte) {
	b.w.mu.Lock()
	b.write.remaining++
	failed := b.write.err != nil
	b.w.mu.Unlock()
	if failed {
		return // the batch has failed; Send reports it
	}
	if err := b.publish(subject, header, data); err != nil {
		b.w.mu.Lock()
		b.write.fail(fmt.Errorf("publish: %w", err))
		b.w.mu.Unlock()
	}
}

func (b *Batch) publish(subject string, header nats.Header, data []byte) error {
	if header == nil { // the hot path: no message to build
		return b.w.nc.PublishRequest(subject, b.write.address.subject, data)
	}
	return b.w.nc.PublishMsg(&nats.Msg{Subject: subject, Reply: b.write.address.subject, Header: header, Data: data})
}

// askAsync sends one request. done receives the answer, under the terms of
// [Conn.NewBatch].
func (c *Conn) askAsync(question *nats.Msg, done func(answer *nats.Msg, err error)) {
	var b *Batch
	b = c.NewBatch(func(_ uint64, err error) { done(b.write.answer, err) })
	b.write.asks = true
	b.Add(question.Subject, question.Header, question.Data)
	b.Send()
}

// Send completes the batch: no more messages are added.
func (b *Batch) Send() {
	b.w.mu.Lock()
	b.write.sealed = true
	finished := b.w.takeIfFinished(b.write)
	b.w.mu.Unlock()
	if finished { // it failed already; done may want locks that the caller holds
		time.AfterFunc(0, func() { b.write.done(b.write.seq, b.write.err) })
	}
}
