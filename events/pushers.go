package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// errWatchEnded says that a bucket's watcher ended by itself.
var errWatchEnded = errors.New("watch ended")

func (c *Conn) userKey(user UserID) string {
	token := Token(user)
	return c.partOf(token) + "." + token
}

// PutPushers makes set what dispatchers know of a user's pushers. It returns
// nil only when the bucket has stored it.
func (c *Conn) PutPushers(ctx context.Context, set UserPushers) error {
	kv, err := c.js.KeyValue(ctx, bucketPushers)
	if err != nil {
		return fmt.Errorf("open bucket %s: %w", bucketPushers, err)
	}
	if len(set.Pushers) == 0 {
		if err := kv.Delete(ctx, c.userKey(set.UserID)); err != nil {
			return fmt.Errorf("delete pushers: %w", err)
		}
		return nil
	}
	value, err := json.Marshal(set)
	if err != nil {
		return fmt.Errorf("encode pushers: %w", err)
	}
	if _, err := kv.Put(ctx, c.userKey(set.UserID), value); err != nil {
		return fmt.Errorf("put pushers: %w", err)
	}
	return nil
}

// AllPushers yields the pushers of every user in the bucket, as they are when
// it begins. A value that cannot be read is yielded with its user alone, so
// that the registry writes it again.
func (c *Conn) AllPushers(ctx context.Context) iter.Seq2[UserPushers, error] {
	return func(yield func(UserPushers, error) bool) {
		watcher, err := c.watch(ctx, bucketPushers, ">", jetstream.IgnoreDeletes())
		if err != nil {
			yield(UserPushers{}, err)
			return
		}
		defer func() { _ = watcher.Stop() }()
		for {
			entry, err := nextEntry(ctx, nil, watcher)
			if err != nil {
				yield(UserPushers{}, err)
				return
			}
			if entry == nil {
				return // all that there was
			}
			set, err := readPushers(entry)
			if err != nil {
				c.log.Warn("unreadable pushers in the bucket", "error", err)
			}
			if set.UserID != "" && !yield(set, nil) {
				return
			}
		}
	}
}

// WatchPushers calls apply with the pushers of every user, then ready once,
// then apply with each change, all from the calling goroutine. A user whose
// pushers are gone comes with none. It returns when ctx ends (nil), when the
// watch fails, or when the connection was lost and is back, for a watcher by
// itself takes 10 s to notice that; whoever calls again is told everything anew.
func (c *Conn) WatchPushers(ctx context.Context, apply func(UserPushers), ready func()) error {
	back := c.untilReconnect()
	watcher, err := c.watch(ctx, bucketPushers, ">")
	if err != nil {
		return err
	}
	defer func() { _ = watcher.Stop() }()
	for {
		entry, err := nextEntry(ctx, back, watcher)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		case entry == nil:
			ready()
			continue
		}
		set, err := readPushers(entry)
		if err != nil {
			c.log.Warn("unreadable pushers ignored", "error", err, "revision", entry.Revision())
			continue
		}
		apply(set)
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

// readPushers reads one value of the bucket. With an error the set has its user
// all the same if the key names one.
func readPushers(entry jetstream.KeyValueEntry) (UserPushers, error) {
	_, token, _ := strings.Cut(entry.Key(), ".")
	user, err := ParseToken[UserID](token)
	if err != nil {
		return UserPushers{}, err
	}
	if entry.Operation() != jetstream.KeyValuePut {
		return UserPushers{UserID: user}, nil
	}
	set, err := parseUserPushers(entry.Value())
	if err != nil || set.UserID != user {
		return UserPushers{UserID: user}, errors.Join(err, fmt.Errorf("value of user %s", user))
	}
	return set, nil
}
