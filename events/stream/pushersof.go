package stream

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"poked/events"
)

// lookUps is how many users [Conn.PushersOf] looks up at the same time.
const lookUps = 32

// PushersOf returns the pushers of some users, as the registry published them. Users
// without any, or with an unreadable value, are absent.
func (c *Conn) PushersOf(ctx context.Context, users []events.UserID) (map[events.UserID][]events.Pusher, error) {
	if c.partitions == 0 {
		if err := c.Join(ctx); err != nil {
			return nil, err
		}
	}
	kv, err := c.js.KeyValue(ctx, bucketPushers)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", bucketPushers, err)
	}
	var mu sync.Mutex
	found := map[events.UserID][]events.Pusher{}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(lookUps)
	for _, user := range users {
		group.Go(func() error {
			entry, err := kv.Get(ctx, c.userKey(user))
			if errors.Is(err, jetstream.ErrKeyNotFound) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("read pushers: %w", err)
			}
			if set, err := events.ParseUserPushers(entry.Value()); err == nil {
				mu.Lock()
				defer mu.Unlock()
				found[user] = set.Pushers
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return found, nil
}
