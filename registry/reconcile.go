package registry

import (
	"context"
	"fmt"

	"poked/events"
)

// reconcilePage is how many users are compared, and written down as differing,
// in one transaction.
const reconcilePage = 500

// reconcile puts every user into the outbox of whom a bucket holds something else
// than the database says. Only the goroutine of the outbox writes to the bucket,
// so it stands still meanwhile; the database may move on and only makes a user
// appear in the outbox twice.
func (o *outbox) reconcile(ctx context.Context, b bucket) error {
	held, err := o.readBucket(ctx, b)
	if err != nil {
		return fmt.Errorf("read bucket %s: %w", b, err)
	}
	differ, ahead, err := o.compareUsers(ctx, b, held)
	if err != nil {
		return err
	}
	unknown, err := o.oweUnknown(ctx, b, held)
	if err != nil {
		return err
	}
	log := o.log.With("bucket", string(b))
	switch {
	case ahead+unknown > 0: // the database is not the one that told NATS last
		log.Warn("nats knew more than the database, which wins", "users", differ, "users_ahead", ahead, "users_unknown", unknown)
	case differ > 0:
		log.Info("telling nats what it does not know", "users", differ)
	}
	return nil
}

func (o *outbox) readBucket(ctx context.Context, b bucket) (map[events.UserID]valueState, error) {
	held := map[events.UserID]valueState{}
	for v, err := range b.all(ctx, o.conn) {
		if err != nil {
			return nil, err
		}
		held[v.user] = v.state()
	}
	return held, nil
}

// compareUsers walks through the database and takes each user out of held. It
// returns for how many users the two differ, and how many of those the bucket
// has in a version that the database never reached.
func (o *outbox) compareUsers(ctx context.Context, b bucket, held map[events.UserID]valueState) (differ, ahead int, err error) {
	for after := events.UserID(""); ; {
		values, err := o.store.ValuesAfter(ctx, b, after, reconcilePage)
		if err != nil || len(values) == 0 {
			return differ, ahead, err
		}
		var debts []debt
		for i := range values {
			user := values[i].user
			have, ok := held[user]
			delete(held, user)
			if d, differs := compare(&values[i], have, ok); differs {
				debts = append(debts, d)
				if d.atLeast > 0 {
					ahead++
				}
			}
			after = user
		}
		if err := o.store.Owe(ctx, b, debts); err != nil {
			return differ, ahead, err
		}
		differ += len(debts)
	}
}

// compare says whether the bucket has to be told of a user. The database may
// come from a backup, and the bucket then have a version that it has yet to
// reach, with the same content or another: its version jumps above the bucket's.
func compare(want *value, have valueState, ok bool) (debt, bool) {
	switch {
	case !ok:
		return debt{user: want.user}, want.filled
	case want.filled && want.state() == have:
		return debt{}, false
	case have.version >= want.version:
		return debt{user: want.user, atLeast: have.version + 1}, true
	}
	return debt{user: want.user}, true
}

// oweUnknown has the users deleted that only the bucket knows.
func (o *outbox) oweUnknown(ctx context.Context, b bucket, held map[events.UserID]valueState) (int, error) {
	debts := make([]debt, 0, len(held))
	for user, have := range held {
		debts = append(debts, debt{user: user, atLeast: have.version + 1})
	}
	return len(debts), o.store.Owe(ctx, b, debts)
}
