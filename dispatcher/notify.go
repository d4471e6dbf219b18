package dispatcher

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"poked/events"
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

// fanout is the writing of one event's notifications. It ends when all that was
// written is answered.
type fanout struct {
	m       *matcher
	msg     events.Message
	total   uint64        // notifications that are to be written
	batch   *events.Batch // nil before the first message, and after it was sent
	written *int64        // bytes in batch

	mu   sync.Mutex
	open int // batches that are not answered, and 1 while more may come
	err  error
}

// errNotHeld says that somebody else may be at work on the partition: what they
// have written meanwhile, whoever asked the log before does not know.
var errNotHeld = errors.New("the partition may be another worker's by now")

// add writes one notification. It waits while too much is unstored: within
// matchGrace, so that a stop finds the event either written or given up. Nothing
// is written once the lease may have run out: the event was taken before, but NATS
// may have been away since, or the process have stood still.
func (f *fanout) add(ctx context.Context, user events.UserID, room events.RoomID, record []byte) error {
	size := int64(len(record) + messageOverhead)
	if f.batch != nil && *f.written >= batchLimit {
		f.send()
	}
	if !f.m.unstored.TryAcquire(size) {
		f.send() // what waits here must not be what the others wait for
		if err := f.m.waitForRoom(ctx, size); err != nil {
			return err
		}
	}
	if !f.m.lease.Held() {
		f.m.unstored.Release(size)
		return errNotHeld
	}
	if f.batch == nil {
		f.begin()
	}
	*f.written += size
	f.batch.Notify(f.m.conn, user, room, record)
	return nil
}

func (m *matcher) waitForRoom(ctx context.Context, size int64) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), matchGrace)
	defer cancel()
	if err := m.unstored.Acquire(ctx, size); err != nil {
		return fmt.Errorf("wait until what was written is stored: %w", err)
	}
	return nil
}

func (f *fanout) begin() {
	written := new(int64)
	f.mu.Lock()
	f.open++
	f.mu.Unlock()
	f.written = written
	f.batch = f.m.conn.NewBatch(func(_ uint64, err error) {
		f.m.unstored.Release(*written)
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

// answered takes in that a batch is stored, or failed. After the last one the
// event is done, or matched again: not earlier, lest what is still on its way be
// stored a second time.
func (f *fanout) answered(err error) {
	f.mu.Lock()
	if f.err == nil {
		f.err = err
	}
	f.open--
	last, err := f.open == 0, f.err
	f.mu.Unlock()
	switch {
	case !last:
	case err != nil:
		f.m.log.Warn("notifications not stored, matching again", "seq", f.msg.Seq, "error", err)
		f.m.follower.Redo(f.msg)
	default:
		f.m.counts.notifications.Add(f.total)
		f.m.follower.Done(f.msg.Seq)
	}
}
