package events

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// errWatchEnded says that a bucket's watcher ended by itself.
var errWatchEnded = errors.New("watch ended")

// errNothing says that nothing has come for a while.
var errNothing = errors.New("nothing has come")

// errEnough says that who reads a bucket wants no more of it.
var errEnough = errors.New("enough was read")

// bucketReader reads what stands under some keys of a bucket, and then what
// changes there.
type bucketReader struct {
	conn         *Conn
	bucket, keys string
	back         <-chan struct{} // closed when the connection was lost and is back
	watcher      jetstream.KeyWatcher
}

// readBucket begins to read. end must follow.
func (c *Conn) readBucket(ctx context.Context, bucket, keys string) (r *bucketReader, err error) {
	r = &bucketReader{conn: c, bucket: bucket, keys: keys, back: c.untilReconnect()}
	if r.watcher, err = c.watch(ctx, bucket, keys); err != nil {
		return nil, err
	}
	return r, nil
}

// watchBucket hands over what stands under some keys of a bucket, then calls ready,
// then hands over what changes. It returns when ctx ends (nil), when the watch fails,
// or when the connection was lost and is back, for a watcher by itself takes 10 s to
// notice that; whoever watches again is told everything anew.
func (c *Conn) watchBucket(ctx context.Context, bucket, keys string, take func(jetstream.KeyValueEntry), ready func()) error {
	r, err := c.readBucket(ctx, bucket, keys)
	if err != nil {
		return err
	}
	defer r.end()
	each := func(entry jetstream.KeyValueEntry) (more bool) {
		take(entry)
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

func (r *bucketReader) end() { endWatch(r.watcher) }

// loadPatience is how long nothing comes until loading asks whether anything is
// still to come.
const loadPatience = time.Second

// load hands over what stands in the bucket, in the order of revisions, and
// returns when that is all: when the newest revision has come, and the watcher's
// own sign. That sign counts values, and is early when some are replaced while they
// are read; the newest revision may be that of a replica which is behind.
func (r *bucketReader) load(ctx context.Context, take func(jetstream.KeyValueEntry) (more bool)) error {
	progress := newProgress(r.conn.log, r.bucket, r.keys)
	for signed, seen := false, uint64(0); ; {
		newest, err := r.newest(ctx)
		if err != nil || signed && newest <= seen {
			return err
		}
		for !signed || seen < newest {
			entry, err := r.soon(ctx)
			if errors.Is(err, errNothing) {
				break // what was the newest may be gone
			}
			if err != nil {
				return err
			}
			if entry == nil {
				signed = true
				continue
			}
			seen = entry.Revision()
			progress.step(entry.Delta())
			if !take(entry) {
				return errEnough
			}
		}
	}
}

// soon returns the next value or the watcher's sign, or errNothing if none comes
// for a while.
func (r *bucketReader) soon(ctx context.Context) (jetstream.KeyValueEntry, error) {
	select {
	case entry, ok := <-r.watcher.Updates():
		if !ok {
			return nil, errWatchEnded
		}
		return entry, nil
	default:
	}
	waiting, stop := context.WithTimeout(ctx, loadPatience)
	defer stop()
	entry, err := nextEntry(waiting, r.back, r.watcher)
	if err != nil && waiting.Err() != nil && ctx.Err() == nil {
		return nil, errNothing
	}
	return entry, err
}

// newest returns the newest revision under the keys, 0 if there is none.
func (r *bucketReader) newest(ctx context.Context) (uint64, error) {
	stream, err := r.conn.js.Stream(ctx, "KV_"+r.bucket)
	if err != nil {
		return 0, fmt.Errorf("open bucket %s: %w", r.bucket, err)
	}
	msg, err := stream.GetLastMsgForSubject(ctx, "$KV."+r.bucket+"."+r.keys)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("ask bucket %s for its newest value: %w", r.bucket, err)
	}
	return msg.Sequence, nil
}

// follow hands over what changes, until the watch ends.
func (r *bucketReader) follow(ctx context.Context, take func(jetstream.KeyValueEntry) (more bool)) error {
	for {
		entry, err := nextEntry(ctx, r.back, r.watcher)
		if err != nil {
			return err
		}
		if entry != nil && !take(entry) {
			return errEnough
		}
	}
}

func (c *Conn) watch(ctx context.Context, bucket, keys string, opts ...jetstream.WatchOpt) (jetstream.KeyWatcher, error) {
	kv, err := c.js.KeyValue(ctx, bucket)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", bucket, err)
	}
	watcher, err := kv.Watch(ctx, keys, opts...)
	if err != nil {
		return nil, fmt.Errorf("watch bucket %s: %w", bucket, err)
	}
	return watcher, nil
}

// endWatch ends a watcher, and takes what it still has to say: on that it would
// wait for ever.
func endWatch(watcher jetstream.KeyWatcher) {
	_ = watcher.Stop()
	for range watcher.Updates() {
	}
}

// nextEntry returns the next value, or nil when all that was stored has been
// returned. It ends when back is closed, which may be nil.
func nextEntry(ctx context.Context, back <-chan struct{}, watcher jetstream.KeyWatcher) (jetstream.KeyValueEntry, error) {
	select {
	case entry, ok := <-watcher.Updates():
		if !ok {
			return nil, errWatchEnded
		}
		return entry, nil
	case <-back:
		return nil, errWatchEnded
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
