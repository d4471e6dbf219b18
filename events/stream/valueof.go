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

// rulesHistory is how many versions of a user's push rules are kept, for operators who ask how an
// event was decided. Everyone else reads the newest. A user's rules take a few KiB, and up to
// 384.
const rulesHistory = 8

// RulesAt is a user's push rules as of a time.
type RulesAt struct {
	events.UserPushRules
	StoredAt time.Time // when the newest version was stored, perhaps after that time; zero if there is none
	// Later is when the rules were changed after that time, if those from before are not kept
	// any more: then these are the newest.
	Later time.Time
}

// PushRulesAt returns a user's push rules as they were at a time, as the leader of the bucket
// knows them. Of each user the last few versions are kept.
func (c *Conn) PushRulesAt(ctx context.Context, user events.UserID, at time.Time) (RulesAt, error) {
	b := pushRulesBucket()
	newest, stored, err := b.of(ctx, c, user)
	r := RulesAt{UserPushRules: newest, StoredAt: stored}
	if err != nil || !stored.After(at) {
		return r, err
	}
	r.Later = stored
	key, oldest := c.topology.UserKey(user), true
	for from := uint64(1); ; oldest = false {
		msg, err := c.AskLeader(ctx, bucketStream(b.name), Query{Next: kvSubject(b.name, key), From: from})
		if err != nil || msg == nil {
			return r, err
		}
		set, err := b.read(entry{key: key, value: msg.Data, deleted: isDeletion(msg.Header)})
		if err != nil {
			return r, fmt.Errorf("read %s: %w: %w", b.what, errUnreadable, err)
		}
		if msg.Time.After(at) {
			if oldest && set.Version == 1 { // the user's first: until then the predefined rules applied
				r.UserPushRules, r.Later = b.none(user), time.Time{}
			}
			return r, nil
		}
		b.stamp(&set, msg.Sequence, msg.Time)
		r.UserPushRules, r.Later = set, time.Time{}
		from = msg.Sequence + 1
	}
}

// of returns the value of one user, an empty one if there is none, and when it was stored or
// deleted.
func (b userBucket[T]) of(ctx context.Context, c *Conn, user events.UserID) (value T, at time.Time, err error) {
	value = b.none(user)
	key := c.topology.UserKey(user)
	msg, err := c.AskLeader(ctx, bucketStream(b.name), Query{Last: kvSubject(b.name, key)})
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
