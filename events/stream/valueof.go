package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"poked/events"
)

// errUnreadable is wrapped by the error about a user's value that cannot be read.
var errUnreadable = errors.New("what is stored cannot be read")

// PushersOfUser returns a user's pushers as the leader of the bucket knows them now. Their At is
// when they were stored, or the zero time if the bucket says nothing of the user.
func (c *Conn) PushersOfUser(ctx context.Context, user events.UserID) (events.UserPushers, error) {
	set, _, err := pushersBucket().of(ctx, c, user)
	return set, err
}

// PushRulesOfUser returns a user's push rules as the leader of the bucket knows them now, and when
// they were stored: the zero time if the predefined ones always applied.
func (c *Conn) PushRulesOfUser(ctx context.Context, user events.UserID) (events.UserPushRules, time.Time, error) {
	return pushRulesBucket().of(ctx, c, user)
}

// of returns the value of one user, an empty one if there is none, and when it was stored or
// deleted.
func (b userBucket[T]) of(ctx context.Context, c *Conn, user events.UserID) (value T, at time.Time, err error) {
	value = b.none(user)
	key := c.userKey(user)
	msg, err := c.askLeader(ctx, bucketStream(b.name), query{Last: kvSubject(b.name, key)})
	if err != nil || msg == nil {
		return value, at, err
	}
	value, err = b.read(entry{key: key, value: msg.Data, deleted: isDeletion(msg.Header)})
	if err != nil {
		return value, at, fmt.Errorf("read %s: %w: %w", b.what, errUnreadable, err)
	}
	if b.stamp != nil {
		b.stamp(&value, msg.Sequence, msg.Time)
	}
	return value, msg.Time, nil
}
