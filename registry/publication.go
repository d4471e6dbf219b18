package registry

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"iter"

	"poked/events"
	"poked/events/stream"
	"poked/registry/database"
)

// bucket names one of the two buckets that the registry writes, in the outbox and in the
// log.
type bucket string

const (
	inPushers   bucket = "PUSHERS"
	inPushRules bucket = "PUSH_RULES"
)

// version returns the column of users with the bucket's version.
func (b bucket) version() string {
	if b == inPushRules {
		return "rules_version"
	}
	return "version"
}

// revision returns the bucket's revision in a barrier.
func (b bucket) revision(of *events.Barrier) *uint64 {
	if b == inPushRules {
		return &of.PushRules
	}
	return &of.Pushers
}

// load reads a user's value for the bucket from the database.
func (b bucket) load(ctx context.Context, tx *database.Tx, user events.UserID) (value, error) {
	if b == inPushRules {
		rules, err := rulesOf(ctx, tx, user)
		return pushRulesValue(rules), err
	}
	set, err := pushersOf(ctx, tx, user)
	return pushersValue(set), err
}

// loadAll reads the values of several users, who are in the order of their ids.
func (b bucket) loadAll(ctx context.Context, tx *database.Tx, users []userVersion) (values []value, err error) {
	if b == inPushRules {
		list, err := rulesOfAll(ctx, tx, users)
		for _, rules := range list {
			values = append(values, pushRulesValue(rules))
		}
		return values, err
	}
	list, err := pushersOfAll(ctx, tx, users)
	for _, set := range list {
		values = append(values, pushersValue(set))
	}
	return values, err
}

// putter writes the value that was read from the database after the claim, and returns its
// revision.
type putter func(context.Context, value) (uint64, error)

// claim claims a user's key in the bucket.
func (b bucket) claim(ctx context.Context, conn *stream.Conn, user events.UserID) (putter, error) {
	if b == inPushRules {
		claim, err := conn.ClaimPushRules(ctx, user)
		return func(ctx context.Context, v value) (uint64, error) {
			err := claim.Put(ctx, v.rules)
			return claim.Revision(), err
		}, err
	}
	claim, err := conn.ClaimPushers(ctx, user)
	return func(ctx context.Context, v value) (uint64, error) {
		err := claim.Put(ctx, v.pushers)
		return claim.Revision(), err
	}, err
}

// all yields every value in the bucket.
func (b bucket) all(ctx context.Context, conn *stream.Conn) iter.Seq2[value, error] {
	if b == inPushRules {
		return values(conn.AllPushRules(ctx), pushRulesValue)
	}
	return values(conn.AllPushers(ctx), pushersValue)
}

// value is one user's value in a bucket, as read from it or to be written.
type value struct {
	bucket  bucket
	user    events.UserID
	version int64
	filled  bool // false if the user has no key in the bucket
	content any  // the value without user and version

	pushers events.UserPushers   // in PUSHERS
	rules   events.UserPushRules // in PUSH_RULES
}

func pushersValue(set events.UserPushers) value {
	return value{
		bucket: inPushers, user: set.UserID, version: set.Version, filled: len(set.Pushers) > 0, content: set.Pushers,
		pushers: set,
	}
}

func pushRulesValue(rules events.UserPushRules) value {
	content := rules
	content.UserID, content.Version = "", 0
	return value{
		bucket: inPushRules, user: rules.UserID, version: rules.Version, filled: !rules.IsEmpty(), content: content,
		rules: rules,
	}
}

func values[T any](all iter.Seq2[T, error], valueOf func(T) value) iter.Seq2[value, error] {
	return func(yield func(value, error) bool) {
		for v, err := range all {
			if !yield(valueOf(v), err) {
				return
			}
		}
	}
}

// valueState is a digest of a value in a bucket, for comparison.
type valueState struct {
	version int64
	content [sha256.Size]byte
}

// state returns the digest of a value. It does not depend on how the JSON was formatted.
func (v *value) state() valueState {
	encoded, err := json.Marshal(v.content)
	if err != nil {
		return valueState{} // not valid JSON: equal to no other
	}
	return valueState{version: v.version, content: sha256.Sum256(encoded)}
}
