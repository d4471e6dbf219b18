package match

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/semaphore"

	"poked/events"
	"poked/events/partition"
	"poked/events/stream"
)

const (
	// unstoredLimit bounds the bytes of notifications that all matchers together
	// have written and NATS has not stored yet. An event in a big room makes tens
	// of thousands of messages, and the server drops what it cannot take at once.
	unstoredLimit = 32 << 20
	// batchLimit is how many bytes are answered together.
	batchLimit = 1 << 20
	// messageOverhead is what a message costs beside its data, roughly.
	messageOverhead = 512
)

// NewUnstored returns the budget of bytes that the matchers of a dispatcher share.
func NewUnstored() *semaphore.Weighted { return semaphore.NewWeighted(unstoredLimit) }

// fanout is the writing of all that one message of ROOMS brings about:
// notifications, what is read by it, redactions, or a dead letter. It is stored when
// all that was written is answered, and over when besides every event that the
// message speaks of is stored, or given up.
type fanout struct {
	m       *Matcher
	msg     partition.Message
	total   uint64             // notifications that are to be written
	batch   *stream.Batch      // nil before the first message, and after it was sent
	written *int64             // bytes in batch
	pending []*pendingWord     // what was said of the event before it came
	dead    *events.DeadLetter // if the message, or a part of it, cannot be read
	passed  bool               // its room does not wait for it

	mu    sync.Mutex
	open  int // batches that are not answered, and 1 for everything else that is to come
	words int // earlyWords of the message that wait
	over  bool
	err   error
}

// errNotHeld says that somebody else may be at work on the partition: what they
// have written meanwhile, whoever asked the log before does not know.
var errNotHeld = errors.New("the partition may be another worker's by now")

func (m *Matcher) newFanout(msg partition.Message) *fanout {
	m.writing.Add(1)
	return &fanout{m: m, msg: msg, open: 1}
}

// add writes one notification.
func (f *fanout) add(ctx context.Context, user events.UserID, room events.RoomID, thread events.EventID, record []byte) error {
	if err := f.reserve(ctx, len(record)); err != nil {
		return err
	}
	f.batch.Notify(f.m.cfg.Conn, user, room, thread, record)
	return nil
}

// addRead writes how far a user has read a room.
func (f *fanout) addRead(ctx context.Context, user events.UserID, room events.RoomID, read events.Read) error {
	if err := f.reserve(ctx, 0); err != nil {
		return err
	}
	f.batch.Read(f.m.cfg.Conn, user, room, read)
	return nil
}

// addRedacted writes that the event of a user's notification was redacted.
func (f *fanout) addRedacted(ctx context.Context, user events.UserID, room events.RoomID, seq uint64) error {
	if err := f.reserve(ctx, 0); err != nil {
		return err
	}
	f.batch.Redacted(f.m.cfg.Conn, user, room, seq)
	return nil
}

// addDead writes a dead letter.
func (f *fanout) addDead(letter events.DeadLetter) {
	f.mu.Lock()
	f.open++
	f.dead = &letter
	f.mu.Unlock()
	f.m.cfg.Conn.PublishDead(letter, f.answered)
}

// reserve makes room for one message of this length. It waits while too much is
// unstored: within matchGrace, so that a stop finds the event either written or
// given up. Nothing is written once the lease may have run out: the message was
// taken before, but NATS may have been away since, or the process have stood still.
func (f *fanout) reserve(ctx context.Context, length int) error {
	size := int64(length + messageOverhead)
	if f.batch != nil && *f.written >= batchLimit {
		f.send()
	}
	if !f.m.cfg.Unstored.TryAcquire(size) {
		f.send() // what waits here must not be what the others wait for
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
	*f.written += size
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
	written := new(int64)
	f.written = written
	f.mu.Lock()
	f.open++
	f.mu.Unlock()
	f.batch = f.m.cfg.Conn.NewBatch(func(_ uint64, err error) {
		f.m.cfg.Unstored.Release(*written)
		f.answered(err)
	})
}

func (f *fanout) send() {
	if f.batch != nil {
		f.batch.Send()
		f.batch = nil
	}
}

// end says that no more will be added: all is, or err says why not.
func (f *fanout) end(err error) {
	f.send()
	f.answered(err)
}

// answered takes in that a batch is stored, or failed. After the last one the next
// message of the room may begin, or this one is matched again: not earlier, lest
// what is still on its way be stored a second time, or after what follows.
func (f *fanout) answered(err error) {
	f.mu.Lock()
	if f.err == nil {
		f.err = err
	}
	f.open--
	stored, err := f.open == 0, f.err
	over := f.ends()
	f.mu.Unlock()
	if !stored {
		return
	}
	if over {
		f.settle(err)
	}
	if err == nil && !f.passed {
		f.m.settled(f.msg)
	}
	f.m.writing.Add(-1)
}

// ends says, once, that nothing more is to come of the fanout.
func (f *fanout) ends() bool {
	if f.over || f.open > 0 || f.words > 0 && f.err == nil {
		return false
	}
	f.over = true
	return true
}

// settle ends the message's work, or has it matched again.
func (f *fanout) settle(err error) {
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
	// After the event: if it has to be matched again, so must they.
	for _, w := range f.pending {
		w.settle()
	}
}
