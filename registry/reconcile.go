package registry

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"

	"poked/events"
)

// reconcilePage is how many users are compared, and written down as differing,
// in one transaction.
const reconcilePage = 500

// bucketState is what is remembered of one user's value in the bucket while it
// is compared.
type bucketState struct {
	version int64
	content [sha256.Size]byte
}

// reconcile puts every user into the outbox whose pushers in the bucket are not
// what the database says. Only the goroutine of the outbox writes to the bucket,
// so it stands still meanwhile; the database may move on and only makes a user
// appear in the outbox twice.
func (o *outbox) reconcile(ctx context.Context) error {
	bucket, err := o.readBucket(ctx)
	if err != nil {
		return fmt.Errorf("read bucket of pushers: %w", err)
	}
	differ, ahead, err := o.compareUsers(ctx, bucket)
	if err != nil {
		return err
	}
	unknown, err := o.oweUnknown(ctx, bucket)
	if err != nil {
		return err
	}
	switch {
	case ahead+unknown > 0: // the database is not the one that told NATS last
		o.log.Warn("nats knew more than the database, which wins", "users", differ, "users_ahead", ahead, "users_unknown", unknown)
	case differ > 0:
		o.log.Info("telling nats of pushers that it does not know", "users", differ)
	}
	return nil
}

func (o *outbox) readBucket(ctx context.Context) (map[events.UserID]bucketState, error) {
	bucket := map[events.UserID]bucketState{}
	for set, err := range o.conn.AllPushers(ctx) {
		if err != nil {
			return nil, err
		}
		bucket[set.UserID] = stateOf(set)
	}
	return bucket, nil
}

// stateOf digests what a value says, however its JSON is written.
func stateOf(set events.UserPushers) bucketState {
	encoded, err := json.Marshal(set.Pushers)
	if err != nil {
		return bucketState{} // data that is not JSON: equal to nothing
	}
	return bucketState{version: set.Version, content: sha256.Sum256(encoded)}
}

// compareUsers walks through the database and takes each user out of bucket. It
// returns for how many users the two differ, and how many of those the bucket
// has in a version that the database never reached.
func (o *outbox) compareUsers(ctx context.Context, bucket map[events.UserID]bucketState) (differ, ahead int, err error) {
	for after := events.UserID(""); ; {
		sets, err := o.store.UsersAfter(ctx, after, reconcilePage)
		if err != nil || len(sets) == 0 {
			return differ, ahead, err
		}
		var debts []debt
		for _, set := range sets {
			have, ok := bucket[set.UserID]
			delete(bucket, set.UserID)
			if d, differs := compare(set, have, ok); differs {
				debts = append(debts, d)
				if d.atLeast > 0 {
					ahead++
				}
			}
			after = set.UserID
		}
		if err := o.store.Owe(ctx, debts); err != nil {
			return differ, ahead, err
		}
		differ += len(debts)
	}
}

// compare says whether the bucket has to be told of a user. The database may
// come from a backup, and the bucket then have a version that it has yet to
// reach, with the same pushers or others: its version jumps above the bucket's.
func compare(set events.UserPushers, have bucketState, ok bool) (debt, bool) {
	switch {
	case !ok:
		return debt{user: set.UserID}, len(set.Pushers) > 0
	case len(set.Pushers) > 0 && stateOf(set) == have:
		return debt{}, false
	case have.version >= set.Version:
		return debt{user: set.UserID, atLeast: have.version + 1}, true
	}
	return debt{user: set.UserID}, true
}

// oweUnknown has the users deleted that only the bucket knows.
func (o *outbox) oweUnknown(ctx context.Context, bucket map[events.UserID]bucketState) (int, error) {
	debts := make([]debt, 0, len(bucket))
	for user, have := range bucket {
		debts = append(debts, debt{user: user, atLeast: have.version + 1})
	}
	return len(debts), o.store.Owe(ctx, debts)
}
