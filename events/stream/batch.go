package stream

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"poked/events"
)

// Batch is a set of messages that are written together with one callback. One goroutine
// uses it.
type Batch struct {
	w     *writer
	id    uint64
	reply string
	write *write

	room        events.RoomID // of the last notification
	thread      events.EventID
	roomToken   string
	threadToken string
}

// NewBatch begins a batch. done is called exactly once, after [Batch.Send]: with the
// stream sequence of the message stored last, or with the first error. After an error
// that wraps [ErrUnknownOutcome] any of the messages may have been stored. done must not
// block, and is never called from within Send.
func (c *Conn) NewBatch(done func(seq uint64, err error)) *Batch {
	w := c.writer
	wr := &write{done: done, deadline: time.Now().Add(RequestTimeout)}
	w.mu.Lock()
	w.last++
	id := w.last
	w.pending[id] = wr
	if !w.watched {
		w.watched = true
		time.AfterFunc(watchInterval, w.watch)
	}
	w.mu.Unlock()
	return &Batch{w: w, id: id, reply: w.inbox + strconv.FormatUint(id, 36), write: wr, threadToken: events.NoToken}
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
		return b.w.nc.PublishRequest(subject, b.reply, data)
	}
	return b.w.nc.PublishMsg(&nats.Msg{Subject: subject, Reply: b.reply, Header: header, Data: data})
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
	finished := b.w.takeIfFinished(b.id, b.write)
	b.w.mu.Unlock()
	if finished { // it failed already; done may want locks that the caller holds
		time.AfterFunc(0, func() { b.write.done(b.write.seq, b.write.err) })
	}
}

// Notify adds a user's notification of an event in a thread.
func (b *Batch) Notify(c *Conn, user events.UserID, room events.RoomID, thread events.EventID, body []byte) {
	if b.room != room || b.thread != thread {
		b.room, b.roomToken, b.thread, b.threadToken = room, events.Token(room), thread, events.Token(thread)
	}
	b.Add(c.notifySubject(events.Token(user), b.roomToken, b.threadToken), nil, body)
}

// Read adds how far a user has read a room. It replaces what was stored for the same
// thread before, so it must not cover less.
func (b *Batch) Read(c *Conn, user events.UserID, room events.RoomID, read events.Read) {
	thread := events.Token(read.Thread)
	if read.Whole {
		thread = events.WholeRoom
	}
	body, err := json.Marshal(read)
	if err != nil { // cannot happen for a number and strings
		return
	}
	b.Add(c.userSubject(events.LogRead, events.Token(user))+"."+events.Token(room)+"."+thread, nats.Header{
		jetstream.MsgRollup: []string{jetstream.MsgRollupSubject},
	}, body)
}

// Redacted adds that the event of a user's notification was redacted. seq is the
// notification's sequence in NOTIFICATIONS.
func (b *Batch) Redacted(c *Conn, user events.UserID, room events.RoomID, seq uint64) {
	body, err := json.Marshal(events.Redaction{Seq: seq})
	if err != nil { // cannot happen for a number
		return
	}
	b.Add(c.userSubject(events.LogRedacted, events.Token(user))+"."+events.Token(room), nil, body)
}
