package stream

import (
	"context"
	"fmt"
	"iter"
	"time"

	"poked/events"
)

func pushersBucket() userBucket[events.UserPushers] {
	return userBucket[events.UserPushers]{
		name: BucketPushers, what: "pushers",
		none:  func(user events.UserID) events.UserPushers { return events.UserPushers{UserID: user} },
		parse: events.ParseUserPushers,
		owner: func(set events.UserPushers) (events.UserID, bool) { return set.UserID, len(set.Pushers) > 0 },
		stamp: func(set *events.UserPushers, revision uint64, at time.Time) { set.Revision, set.At = revision, at },
	}
}

// PutPushers stores a user's pushers for the dispatchers. It returns nil only when the
// bucket has stored them.
func (c *Conn) PutPushers(ctx context.Context, set events.UserPushers) error {
	return pushersBucket().put(ctx, c, set)
}

// AllPushers yields the pushers of every user in the bucket when it begins. A value that
// cannot be read is yielded with its user alone, so that the registry writes it again.
func (c *Conn) AllPushers(ctx context.Context) iter.Seq2[events.UserPushers, error] {
	return pushersBucket().all(ctx, c)
}

// PushersIn yields the pushers of every user of a partition, in the order of their
// revisions. It yields an empty value for a user whose pushers were deleted, and omits
// unreadable ones. A user whose pushers change meanwhile may be yielded twice or, if NATS
// is slow, not at all: a caller that needs all of them also watches. It fails if the
// connection was lost and has returned meanwhile.
func (c *Conn) PushersIn(ctx context.Context, part int) iter.Seq2[events.UserPushers, error] {
	return pushersBucket().in(ctx, c, part)
}

// WatchPushers calls apply with the pushers of every user, then ready once, then apply
// with each change, all from the calling goroutine. A user whose pushers were deleted has
// an empty value; an unreadable value has a revision and nothing else. It returns when
// ctx ends (nil), when the watch fails, or when the connection was lost and has returned.
// Watching again starts over.
func (c *Conn) WatchPushers(ctx context.Context, apply func(events.UserPushers), ready func()) error {
	return pushersBucket().watch(ctx, c, apply, ready)
}

// PushersRevision returns the revision of what the bucket says of a user's pushers, as
// its leader knows it: also that they are gone. It is 0 if the bucket says nothing of
// them.
func (c *Conn) PushersRevision(ctx context.Context, user events.UserID) (uint64, error) {
	msg, err := c.AskLeader(ctx, bucketStream(BucketPushers), Query{Last: kvSubject(BucketPushers, c.topology.UserKey(user))})
	if err != nil {
		return 0, fmt.Errorf("look up the revision of pushers: %w", err)
	}
	if msg == nil {
		return 0, nil
	}
	return msg.Sequence, nil
}
