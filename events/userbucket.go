package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// errWatchEnded says that a bucket's watcher ended by itself.
var errWatchEnded = errors.New("watch ended")

func (c *Conn) userKey(user UserID) string {
	token := Token(user)
	return c.partOf(token) + "." + token
}

// userBucket is a bucket with one value for each user, which the registry
// writes and dispatchers read.
type userBucket[T any] struct {
	name  string
	what  string                             // in errors and logs
	none  func(UserID) T                     // what a user without a value has
	parse func(raw []byte) (T, error)        // reads a value
	owner func(T) (user UserID, filled bool) // whose it is, and whether it says anything
	stamp func(value *T, revision uint64)    // notes when it was stored; nil: nobody wants to know
}

// put makes value what dispatchers know of its user, and returns nil only when
// the bucket has stored it.
func (b userBucket[T]) put(ctx context.Context, c *Conn, value T) error {
	kv, err := c.userBucket(ctx, b.name)
	if err != nil {
		return err
	}
	user, filled := b.owner(value)
	if !filled {
		if err := kv.Delete(ctx, c.userKey(user)); err != nil {
			return fmt.Errorf("delete %s: %w", b.what, err)
		}
		return nil
	}
	raw, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encode %s: %w", b.what, err)
	}
	if _, err := kv.Put(ctx, c.userKey(user), raw); err != nil {
		return fmt.Errorf("put %s: %w", b.what, err)
	}
	return nil
}

// userBucket opens a bucket to write to it, which takes a request, the first time
// only: writing needs nothing but the name.
func (c *Conn) userBucket(ctx context.Context, name string) (jetstream.KeyValue, error) {
	if kv, ok := c.userBuckets.Load(name); ok {
		return kv.(jetstream.KeyValue), nil
	}
	kv, err := c.js.KeyValue(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", name, err)
	}
	c.userBuckets.Store(name, kv)
	return kv, nil
}

// all yields the value of every user in the bucket, as they are when it begins.
// A value that cannot be read is yielded with its user alone, so that the
// registry writes it again.
func (b userBucket[T]) all(ctx context.Context, c *Conn) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		watcher, err := c.watch(ctx, b.name, ">", jetstream.IgnoreDeletes())
		if err != nil {
			yield(zero, err)
			return
		}
		defer func() { _ = watcher.Stop() }()
		for {
			entry, err := nextEntry(ctx, nil, watcher)
			if err != nil {
				yield(zero, err)
				return
			}
			if entry == nil {
				return // all that there was
			}
			value, err := b.read(entry)
			if err != nil {
				c.log.Warn("unreadable value in a bucket", "bucket", b.name, "error", err)
			}
			if user, _ := b.owner(value); user != "" && !yield(value, nil) {
				return
			}
		}
	}
}

// watch calls apply with the value of every user, then ready once, then apply
// with each change, all from the calling goroutine. A user whose value is gone
// comes with none. It returns when ctx ends (nil), when the watch fails, or when
// the connection was lost and is back, for a watcher by itself takes 10 s to
// notice that; whoever calls again is told everything anew.
func (b userBucket[T]) watch(ctx context.Context, c *Conn, apply func(T), ready func()) error {
	back := c.untilReconnect()
	watcher, err := c.watch(ctx, b.name, ">")
	if err != nil {
		return err
	}
	defer func() { _ = watcher.Stop() }()
	progress := newProgress(c.log, b.name)
	for {
		entry, err := nextEntry(ctx, back, watcher)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		case entry == nil:
			progress.end()
			ready()
			continue
		}
		progress.step(entry.Delta())
		if value, ok := b.known(c, entry); ok {
			apply(value)
		}
	}
}

// in yields the value of every user of a partition, and with no value those who
// have none any more, until all that was stored has come.
func (b userBucket[T]) in(ctx context.Context, c *Conn, part int) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		r := bucketReading[T]{userBucket: b, conn: c, yield: yield, progress: newProgress(c.log.With("part", part), b.name)}
		if err := r.read(ctx, strconv.Itoa(part)+".>"); err != nil {
			var zero T
			yield(zero, err)
		}
	}
}

// bucketReading is the reading of a part of a bucket.
type bucketReading[T any] struct {
	userBucket[T]

	conn     *Conn
	back     <-chan struct{} // see watch
	watcher  jetstream.KeyWatcher
	progress *progress
	yield    func(T, error) bool
	left     uint64 // values that are still to come
	stopped  bool   // nobody wants more
}

// restWait is how long a reading waits for values that were replaced while it
// went on.
const restWait = time.Second

// read yields what stands under some keys.
func (r *bucketReading[T]) read(ctx context.Context, keys string) (err error) {
	r.back = r.conn.untilReconnect()
	if r.watcher, err = r.conn.watch(ctx, r.name, keys); err != nil {
		return err
	}
	defer func() { _ = r.watcher.Stop() }()
	for more := true; more; {
		if more, err = r.next(ctx); err != nil {
			return err
		}
	}
	// What was replaced meanwhile stands behind the rest and comes at once.
	rest, stop := context.WithTimeout(ctx, restWait)
	defer stop()
	for r.left > 0 && !r.stopped {
		if _, err = r.next(rest); err != nil && rest.Err() != nil {
			return ctx.Err()
		} else if err != nil {
			return err
		}
	}
	return nil
}

// next yields the next value, and says whether more are to come of those that
// were there at first.
func (r *bucketReading[T]) next(ctx context.Context) (more bool, err error) {
	entry, err := nextEntry(ctx, r.back, r.watcher)
	if err != nil || entry == nil {
		return false, err
	}
	r.left = entry.Delta()
	r.progress.step(r.left)
	if value, ok := r.known(r.conn, entry); ok {
		r.stopped = !r.yield(value, nil)
	}
	return !r.stopped, nil
}

// known reads a value for who keeps what was known before if it is unreadable.
func (b userBucket[T]) known(c *Conn, entry jetstream.KeyValueEntry) (value T, ok bool) {
	value, err := b.read(entry)
	if err != nil {
		c.log.Warn("unreadable value in a bucket ignored", "bucket", b.name, "error", err, "revision", entry.Revision())
		return value, false
	}
	if b.stamp != nil {
		b.stamp(&value, entry.Revision())
	}
	return value, true
}

// read reads one value of the bucket. With an error the value has its user all
// the same if the key names one.
func (b userBucket[T]) read(entry jetstream.KeyValueEntry) (T, error) {
	_, token, _ := strings.Cut(entry.Key(), ".")
	user, err := ParseToken[UserID](token)
	if err != nil {
		return b.none(""), err
	}
	if entry.Operation() != jetstream.KeyValuePut {
		return b.none(user), nil
	}
	value, err := b.parse(entry.Value())
	if err != nil {
		return b.none(user), err
	}
	if owner, _ := b.owner(value); owner != user {
		return b.none(user), fmt.Errorf("value of user %s", user)
	}
	return value, nil
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
