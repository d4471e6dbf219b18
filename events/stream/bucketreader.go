package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// errWatchEnded is returned when the reading of a bucket is interrupted.
var errWatchEnded = errors.New("watch ended")

// errNothing is returned when no value arrived within the patience.
var errNothing = errors.New("no value arrived")

// errEnough is returned when the reader of a bucket wants no more values.
var errEnough = errors.New("enough was read")

// headerOperation is the header of a bucket's message that deletes its key (NATS ADR-8).
const headerOperation = "KV-Operation"

// entry is a change of a bucket: a new value of a key, or its deletion.
type entry struct {
	key      string
	value    []byte
	revision uint64
	stored   time.Time
	deleted  bool
}

// bucketReader reads the values of some keys of a bucket, and then their changes. It ends
// with the consumer that it began with; a new reader receives everything again.
type bucketReader struct {
	conn         *Conn
	bucket, keys string
	back         <-chan struct{} // closed when the connection was lost and has returned
	tail         *Tail
	pending      uint64 // values that the consumer has yet to send
}

// readBucket begins to read. The caller must call end.
func (c *Conn) readBucket(ctx context.Context, bucket, keys string) (*bucketReader, error) {
	r := &bucketReader{conn: c, bucket: bucket, keys: keys, back: c.UntilReconnect()}
	r.tail = c.TailBucket(bucket, keys, TailConfig{
		Reader: "reads " + keys, Began: func(pending uint64) { r.pending = pending }, Log: c.log,
	})
	if err := r.tail.open(ctx); err != nil {
		r.end()
		return nil, fmt.Errorf("watch bucket %s: %w", bucket, err)
	}
	return r, nil
}

// watchBucket calls take with the current values of some keys of a bucket, then ready,
// then take with each change. It returns when ctx ends (nil), when the watch fails, or
// when the connection was lost and has returned. Watching again starts over.
func (c *Conn) watchBucket(ctx context.Context, bucket, keys string, take func(entry), ready func()) error {
	r, err := c.readBucket(ctx, bucket, keys)
	if err != nil {
		return err
	}
	defer r.end()
	each := func(e entry) (more bool) {
		take(e)
		return true
	}
	if err = r.load(ctx, each); err == nil {
		ready()
		err = r.follow(ctx, each)
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (r *bucketReader) end() { r.tail.Close() }

// loadPatience is how long load waits for a value before it checks whether any is left.
const loadPatience = time.Second

// load calls take with the values in the bucket, in the order of their revisions, and
// returns once the consumer has none left and the newest revision has arrived. The
// consumer may be at a replica that is behind.
func (r *bucketReader) load(ctx context.Context, take func(entry) (more bool)) error {
	progress := newProgress(r.conn.log, r.bucket, r.keys)
	for seen := uint64(0); ; {
		newest, err := r.newest(ctx)
		if err != nil || r.pending == 0 && newest <= seen {
			return err
		}
		for r.pending > 0 || seen < newest {
			e, err := r.next(ctx, loadPatience)
			if errors.Is(err, errNothing) {
				r.pending = 0 // what the consumer counted, or the newest, was deleted or has expired
				break
			}
			if err != nil {
				return err
			}
			seen = e.revision
			progress.step(r.pending)
			if !take(e) {
				return errEnough
			}
		}
	}
}

// newest returns the newest revision under the keys according to the bucket's leader, or
// 0 if there is none.
func (r *bucketReader) newest(ctx context.Context) (uint64, error) {
	msg, err := r.conn.AskLeader(ctx, bucketStream(r.bucket), Query{Last: kvSubject(r.bucket, r.keys)})
	if err != nil || msg == nil {
		return 0, err
	}
	return msg.Sequence, nil
}

// follow calls take with each change until the watch ends.
func (r *bucketReader) follow(ctx context.Context, take func(entry) (more bool)) error {
	for {
		e, err := r.next(ctx, 0)
		if err != nil {
			return err
		}
		if !take(e) {
			return errEnough
		}
	}
}

// next returns the next value, or errNothing if none arrives within patience, unless that
// is 0.
func (r *bucketReader) next(ctx context.Context, patience time.Duration) (entry, error) {
	var enough <-chan time.Time
	if patience > 0 && r.tail.Queued() == 0 {
		timer := time.NewTimer(patience)
		defer timer.Stop()
		enough = timer.C
	}
	tick := time.NewTicker(r.conn.TickInterval())
	defer tick.Stop()
	for r.tail.sub != nil {
		select {
		case m := <-r.tail.inbox:
			if meta, ok := r.tail.Accept(m); ok {
				r.pending = meta.NumPending
				return entryOf(m, meta), nil
			}
		case <-tick.C:
			r.tail.Check(time.Now())
		case <-enough:
			return entry{}, errNothing
		case <-r.back:
			return entry{}, errWatchEnded
		case <-ctx.Done():
			return entry{}, ctx.Err()
		}
	}
	return entry{}, errWatchEnded
}

func entryOf(m *nats.Msg, meta *nats.MsgMetadata) entry {
	return entry{
		key: keyOf(m.Subject), value: m.Data,
		revision: meta.Sequence.Stream, stored: meta.Timestamp, deleted: isDeletion(m.Header),
	}
}

// isDeletion reports whether a bucket's message removes its key: it was deleted, or its
// time to live is over.
func isDeletion(header nats.Header) bool {
	return header.Get(headerOperation) != "" || header.Get(jetstream.MarkerReasonHeader) != ""
}
