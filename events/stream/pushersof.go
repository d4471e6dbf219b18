package stream

import (
	"context"
	"errors"
	"sync"

	"golang.org/x/sync/errgroup"

	"poked/events"
)

// lookUps is how many users [Conn.PushersOf] looks up at the same time.
const lookUps = 32

// PushersOf returns the pushers of some users, looked up as [Conn.PushersOfUser] does. Users
// without any, or with an unreadable value, are absent.
func (c *Conn) PushersOf(ctx context.Context, users []events.UserID) (map[events.UserID][]events.Pusher, error) {
	if c.topology.Partitions == 0 {
		if err := c.Join(ctx); err != nil {
			return nil, err
		}
	}
	var mu sync.Mutex
	found := map[events.UserID][]events.Pusher{}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(lookUps)
	for _, user := range users {
		group.Go(func() error {
			set, err := c.PushersOfUser(ctx, user)
			if err != nil && !errors.Is(err, errUnreadable) {
				return err
			}
			if err == nil && len(set.Pushers) > 0 {
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
