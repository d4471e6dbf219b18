package stream

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

	"poked/events"
)

// userBucket is a bucket with one value for each user, which the registry writes and
// dispatchers read.
type userBucket[T any] struct {
	name  string
	what  string                                    // in errors and logs
	none  func(events.UserID) T                     // the value of a user without one
	parse func(raw []byte) (T, error)               // reads a value
	owner func(T) (user events.UserID, filled bool) // whose value it is, and whether it is not empty
	// stamp records the value's revision and time.
	stamp func(value *T, revision uint64, at time.Time)
}

// put stores a user's value for the dispatchers, and returns nil only when the bucket has
// stored it. A write that was given up without an answer cannot replace a later one,
// since its condition no longer holds.
func (b userBucket[T]) put(ctx context.Context, c *Conn, value T) error {
	user, filled := b.owner(value)
	r := c.unread(b.name, c.topology.UserKey(user), soleWriter)
	if !filled {
		if err := r.Clear(ctx); err != nil {
			return fmt.Errorf("delete %s: %w", b.what, err)
		}
		return nil
	}
	raw, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encode %s: %w", b.what, err)
	}
	if err := r.Set(ctx, raw); err != nil {
		return fmt.Errorf("put %s: %w", b.what, err)
	}
	return nil
}

// StoredUsers returns how many values [Conn.AllPushers] and [Conn.AllPushRules] yield
// together, at most: it also counts the markers of deleted keys.
func (c *Conn) StoredUsers(ctx context.Context) (n uint64, err error) {
	for _, bucket := range []string{BucketPushers, bucketPushRules} {
		stream, err := c.askStream(ctx, bucketStream(bucket))
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			err = ErrNoStreams
		}
		if err != nil {
			return 0, fmt.Errorf("look up bucket %s: %w", bucket, err)
		}
		n += stream.CachedInfo().State.Msgs
	}
	return n, nil
}

// all yields the value of every user in the bucket when it begins. A value that cannot be
// read is yielded with its user alone, so that the registry writes it again.
func (b userBucket[T]) all(ctx context.Context, c *Conn) iter.Seq2[T, error] {
	return b.load(ctx, c, ">", func(e entry) (value T, ok bool) {
		if e.deleted || e.key == offeredKey {
			return value, false
		}
		value, err := b.read(e)
		if err != nil {
			c.NoteUnreadable(b.name, e.key, e.revision, err)
		}
		user, _ := b.owner(value)
		return value, user != ""
	})
}

// watch calls apply with the value of every user, then ready once, then apply with each
// change, all from the calling goroutine. A user whose value was deleted has an empty
// one. An unreadable one is passed on as an empty value without a user, for callers that
// count revisions. It returns as [Conn.watchBucket] does.
func (b userBucket[T]) watch(ctx context.Context, c *Conn, apply func(T), ready func()) error {
	return c.watchBucket(ctx, b.name, ">", func(e entry) {
		value, _ := b.known(c, e)
		apply(value)
	}, ready)
}

// in yields the value of every user of a partition, and an empty one for each user whose
// value was deleted.
func (b userBucket[T]) in(ctx context.Context, c *Conn, part int) iter.Seq2[T, error] {
	return b.load(ctx, c, strconv.Itoa(part)+".>", func(e entry) (T, bool) { return b.known(c, e) })
}

// load yields the entries under some keys, as read parses them.
func (b userBucket[T]) load(ctx context.Context, c *Conn, keys string, read func(entry) (T, bool)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		r, err := c.readBucket(ctx, b.name, keys)
		if err == nil {
			defer r.end()
			err = r.load(ctx, func(e entry) (more bool) {
				value, ok := read(e)
				return !ok || yield(value, nil)
			})
		}
		if err != nil && !errors.Is(err, errEnough) {
			var zero T
			yield(zero, err)
		}
	}
}

// known parses a value. ok is false if it is unreadable, for a caller that then keeps the
// value from before.
func (b userBucket[T]) known(c *Conn, e entry) (value T, ok bool) {
	value, err := b.read(e)
	if err != nil {
		c.NoteUnreadable(b.name, e.key, e.revision, err)
		value = b.none("")
	}
	b.stamp(&value, e.revision, e.stored)
	return value, err == nil
}

// read parses one value of the bucket. With an error the value still has its user, if the
// key names one.
func (b userBucket[T]) read(e entry) (T, error) {
	_, token, _ := strings.Cut(e.key, ".")
	user, err := events.ParseToken[events.UserID](token)
	if err != nil {
		return b.none(""), err
	}
	if e.deleted {
		return b.none(user), nil
	}
	value, err := b.parse(e.value)
	if err != nil {
		return b.none(user), err
	}
	if owner, _ := b.owner(value); owner != user {
		return b.none(user), errOtherKey
	}
	return value, nil
}
