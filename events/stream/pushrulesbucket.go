package stream

import (
	"context"
	"iter"
	"time"

	"poked/events"
)

func pushRulesBucket() userBucket[events.UserPushRules] {
	return userBucket[events.UserPushRules]{
		name: bucketPushRules, what: "push rules",
		none:  func(user events.UserID) events.UserPushRules { return events.UserPushRules{UserID: user} },
		parse: events.ParseUserPushRules,
		owner: func(set events.UserPushRules) (events.UserID, bool) { return set.UserID, !set.IsEmpty() },
		stamp: func(set *events.UserPushRules, revision uint64, _ time.Time) { set.Revision = revision },
	}
}

// PutPushRules stores a user's push rules for the dispatchers. It returns nil only when
// the bucket has stored them.
func (c *Conn) PutPushRules(ctx context.Context, set events.UserPushRules) error {
	return pushRulesBucket().put(ctx, c, set)
}

// AllPushRules yields the push rules of every user in the bucket, under the same
// terms as [Conn.AllPushers].
func (c *Conn) AllPushRules(ctx context.Context) iter.Seq2[events.UserPushRules, error] {
	return pushRulesBucket().all(ctx, c)
}

// WatchPushRules calls apply with the push rules of every user who has a value in the
// bucket, then ready once, then apply with each change, under the same terms as
// [Conn.WatchPushers].
func (c *Conn) WatchPushRules(ctx context.Context, apply func(events.UserPushRules), ready func()) error {
	return pushRulesBucket().watch(ctx, c, apply, ready)
}
