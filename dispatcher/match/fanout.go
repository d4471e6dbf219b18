package match

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/semaphore"

	"poked/dispatcher/spans"
	"poked/events"
	"poked/events/partition"
	"poked/events/stream"
)

const (
	// unstoredLimit bounds the bytes that all matchers together have written and NATS has
	// not stored yet. An event in a big room causes tens of thousands of messages, and the
	// server drops what it cannot buffer.
	unstoredLimit = 32 << 20
	// batchLimit is how many bytes NATS acknowledges together.
	batchLimit = 1 << 20
)

// NewUnstored returns the budget of bytes that may be written and not stored, which all
// matchers of a dispatcher share.
func NewUnstored() *semaphore.Weighted { return semaphore.NewWeighted(unstoredLimit) }

// fanout writes everything that one message of ROOMS causes: notifications, reads,
// redactions, or a dead letter. It is stored when NATS has acknowledged every write. It is
// over when, in addition, every event that the message names and that has not arrived yet
// is stored or given up.
type fanout struct {
	m        *Matcher
	msg      partition.Message
	total    uint64             // notifications to write
	batch    *stream.Batch      // nil before the first message, and after it was sent
	pending  []*pendingItem     // receipts and redactions that arrived before the event
	dead     *events.DeadLetter // if the message, or a part of it, cannot be read
	detached bool               // the room does not wait for it
	span     spans.Span

	mu      sync.Mutex
	open    int // writes without an answer, and 1 until end
	waiting int // receipts and redactions of the message whose event has not arrived
	over    bool
	err     error
}

// errNotHeld reports that another worker may own the partition by now, and may have written
// what was missing.
var errNotHeld = errors.New("the partition may be another worker's by now")

func (m *Matcher) newFanout(msg partition.Message) *fanout {
	m.writing.Add(1)
	return &fanout{m: m, msg: msg, open: 1}
}

// add writes a message about users of a partition.
func (f *fanout) add(ctx context.Context, part int, message []byte) error {
	if err := f.reserve(ctx, len(message)); err != nil {
		return err
	}
	f.batch.Add(events.LogSubject(part), nil, message)
	return nil
}

// addRead writes how far a user has read a room.
func (f *fanout) addRead(ctx context.Context, read events.Read) error {
	m := f.m
	m.recorder.message = read.AppendJSON(m.recorder.message[:0])
	return f.add(ctx, m.cfg.Conn.Topology().PartOf(read.UserID), m.recorder.message)
}

// addMarked writes that a user marked a room as unread, or took that back.
func (f *fanout) addMarked(ctx context.Context, marked events.Marked) error {
	return f.add(ctx, f.m.cfg.Conn.Topology().PartOf(marked.UserID), marked.AppendJSON(nil))
}

// addState publishes a state event that replaces the one at a sequence of ROOMS, unless a
// newer one did: so it needs no lease.
func (f *fanout) addState(subject string, raw []byte, seq uint64) {
	f.mu.Lock()
	f.open++
	f.mu.Unlock()
	f.m.cfg.Rooms.ReplaceState(subject, raw, seq, f.answered)
}

// addDead writes a dead letter.
func (f *fanout) addDead(letter events.DeadLetter) {
	f.mu.Lock()
	f.open++
	f.dead = &letter
	f.mu.Unlock()
	f.m.cfg.Conn.PublishDead(letter, f.answered)
}

// reserve makes room for one message of this length. While too much is unstored it waits,
// but for no longer than matchGrace, so that a stop finds the event either written or
// given up. It refuses once the lease may have run out: the message arrived before, but
// NATS may have been away since, or the process may have been suspended.
func (f *fanout) reserve(ctx context.Context, length int) error {
	size := stream.Weight(length)
	if f.batch != nil && f.batch.Weight() >= batchLimit {
		f.send()
	}
	if !f.m.cfg.Unstored.TryAcquire(size) {
		f.send() // others may be waiting for what this batch holds
		if err := f.m.waitForRoom(ctx, size); err != nil {
			return err
		}
	}
	if !f.m.cfg.Lease.Held() {
		f.m.cfg.Unstored.Release(size)
		return errNotHeld
	}
	if f.batch == nil {
		f.begin()
	}
	return nil
}

func (m *Matcher) waitForRoom(ctx context.Context, size int64) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), matchGrace)
	defer cancel()
	if err := m.cfg.Unstored.Acquire(ctx, size); err != nil {
		return fmt.Errorf("wait until what was written is stored: %w", err)
	}
	return nil
}

func (f *fanout) begin() {
	f.mu.Lock()
	f.open++
	f.mu.Unlock()
	f.batch = f.m.cfg.Conn.NewLogBatch(f.stored)
}

// stored is called when a batch of so much weight is stored, or failed.
func (f *fanout) stored(weight int64, err error) {
	f.m.cfg.Unstored.Release(weight)
	f.answered(err)
}

func (f *fanout) send() {
	if f.batch != nil {
		f.batch.Send()
		f.batch = nil
	}
}

// end is called when everything is added, or err is why not.
func (f *fanout) end(err error) {
	f.send()
	f.answered(err)
}

// answered records that a batch is stored, or failed. Only after the last answer the next
// message of the room may begin, or this one is matched again: otherwise a write still in
// flight could be stored twice, or after what follows it.
func (f *fanout) answered(err error) {
	f.mu.Lock()
	if f.err == nil {
		f.err = err
	}
	f.open--
	stored, err := f.open == 0, f.err
	over := f.complete()
	f.mu.Unlock()
	if !stored {
		return
	}
	f.span.End(err)
	switch {
	case over:
		f.finish(err)
	case err == nil:
		f.m.follower.Wrote(f.msg.Seq)
	}
	if err == nil && !f.detached {
		f.m.resumeRoom(f.msg)
	}
	f.m.writing.Add(-1)
}

// complete reports, once, that the fanout is over. The caller holds the mutex.
func (f *fanout) complete() bool {
	if f.over || f.open > 0 || f.waiting > 0 && f.err == nil {
		return false
	}
	f.over = true
	return true
}

// finish marks the message as done, or has the follower repeat it after an error.
func (f *fanout) finish(err error) {
	m := f.m
	if err != nil {
		m.cfg.Log.Warn("not stored, matching again", "seq", f.msg.Seq, "error", err)
		m.follower.Redo(f.msg)
		return
	}
	if f.dead != nil {
		m.cfg.Counts.Skipped.Add(1)
		m.cfg.Log.Warn("unreadable message skipped", "reason", f.dead.Reason, "seq", f.msg.Seq, "error", f.dead.Detail)
	}
	m.cfg.Counts.Notifications.Add(f.total)
	m.follower.Done(f.msg.Seq)
	// Only now: if the event had to be matched again, these would still be needed.
	for _, w := range f.pending {
		w.resolve()
	}
}
