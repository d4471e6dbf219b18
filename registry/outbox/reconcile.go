package outbox

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"poked/events"
	"poked/events/stream"
	"poked/registry/database"
	"poked/registry/store"
)

// reconcilePage is how many users are compared, and put into the outbox, in one
// transaction.
const reconcilePage = 500

// reconcile puts every user into the outbox whose value in a bucket differs from the
// database. If either changes meanwhile, a user may be in the outbox without need, which does
// no harm: the bucket is read first, so no version of it is one that the database did not
// have.
func (o *Outbox) reconcile(ctx context.Context, b store.Bucket) error {
	held, err := o.readBucket(ctx, b)
	if err != nil {
		return fmt.Errorf("read bucket %s: %w", b, err)
	}
	differ, ahead, err := o.compareUsers(ctx, b, held)
	if err != nil {
		return err
	}
	unknown, err := o.enqueueUnknown(ctx, b, held)
	if err != nil {
		return err
	}
	log := o.log.With("bucket", string(b))
	switch {
	case ahead+unknown > 0: // the buckets were last written from another database
		log.Warn("nats was ahead of the database; the database wins", "users", differ, "users_ahead", ahead, "users_unknown", unknown)
	case differ > 0:
		log.Info("publishing users that differ in nats", "users", differ)
	}
	return nil
}

func (o *Outbox) readBucket(ctx context.Context, b store.Bucket) (map[events.UserID]valueState, error) {
	held := map[events.UserID]valueState{}
	for v, err := range All(ctx, o.conn, b) {
		if err != nil {
			return nil, err
		}
		held[v.User] = stateOf(&v)
	}
	return held, nil
}

// compareUsers compares every user of the database with held, and removes the user from
// held. It returns for how many users the two differ, and for how many of those the
// bucket has a version that the database never reached.
func (o *Outbox) compareUsers(ctx context.Context, b store.Bucket, held map[events.UserID]valueState) (differ, ahead int, err error) {
	for after := events.UserID(""); ; {
		values, err := o.store.ValuesAfter(ctx, b, after, reconcilePage)
		if err != nil || len(values) == 0 {
			return differ, ahead, err
		}
		var entries []store.Entry
		for i := range values {
			user := values[i].User
			have, ok := held[user]
			delete(held, user)
			if d, differs := compare(&values[i], have, ok); differs {
				entries = append(entries, d)
				if d.AtLeast > 0 {
					ahead++
				}
			}
			after = user
		}
		if err := o.store.Enqueue(ctx, b, entries); err != nil {
			return differ, ahead, err
		}
		differ += len(entries)
	}
}

// compare reports whether a user's value has to be written to the bucket. If the database
// was restored from a backup, the bucket may have a higher version, with the same content
// or another; then the version in the database jumps above the bucket's.
func compare(want *store.Value, have valueState, ok bool) (store.Entry, bool) {
	switch {
	case !ok:
		return store.Entry{User: want.User}, want.Filled
	case want.Filled && stateOf(want) == have:
		return store.Entry{}, false
	case have.version >= want.Version:
		return store.Entry{User: want.User, AtLeast: have.version + 1}, true
	}
	return store.Entry{User: want.User}, true
}

// enqueueUnknown puts users that only the bucket knows into the outbox, which deletes them
// from the bucket.
func (o *Outbox) enqueueUnknown(ctx context.Context, b store.Bucket, held map[events.UserID]valueState) (int, error) {
	entries := make([]store.Entry, 0, len(held))
	for _, user := range slices.Sorted(maps.Keys(held)) {
		entries = append(entries, store.Entry{User: user, AtLeast: held[user].version + 1})
	}
	return len(entries), o.store.Enqueue(ctx, b, entries)
}

// ErrLost reports that the database is empty while NATS holds pushers or push rules.
var ErrLost = errors.New("the database is empty, but NATS holds pushers or push rules: " +
	"restore it with 'poked registry restore --from-nats' or from a backup, or delete them from NATS with --start-empty")

// CheckNotLost refuses an empty database that would empty the buckets.
func CheckNotLost(ctx context.Context, address string, s *store.Store, conn *stream.Conn) error {
	known, err := s.KnowsUsers(ctx)
	if err != nil || known {
		return err
	}
	for _, b := range []store.Bucket{store.InPushers, store.InPushRules} {
		for _, err := range All(ctx, conn, b) {
			if err != nil {
				return fmt.Errorf("read bucket %s: %w", b, err)
			}
			return fmt.Errorf("open database %s: %w", database.Redact(address), ErrLost)
		}
	}
	return nil
}
