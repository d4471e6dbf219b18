package store

import (
	"context"

	"poked/events"
	"poked/registry/database"
)

// Bucket names one of the two buckets that the registry writes, in the outbox and in the
// log.
type Bucket string

// The buckets.
const (
	InPushers   Bucket = "PUSHERS"
	InPushRules Bucket = "PUSH_RULES"
)

// version returns the column of users with the bucket's version.
func (b Bucket) version() string {
	if b == InPushRules {
		return "rules_version"
	}
	return "version"
}

// load reads a user's value for the bucket from the database.
func (b Bucket) load(ctx context.Context, tx *database.Tx, user events.UserID) (Value, error) {
	if b == InPushRules {
		rules, err := rulesOf(ctx, tx, user)
		return PushRulesValue(rules), err
	}
	set, err := pushersOf(ctx, tx, user)
	return PushersValue(set), err
}

// loadAll reads the values of several users, who are in the order of their ids.
func (b Bucket) loadAll(ctx context.Context, tx *database.Tx, users []userVersion) (values []Value, err error) {
	if b == InPushRules {
		list, err := rulesOfAll(ctx, tx, users)
		for _, rules := range list {
			values = append(values, PushRulesValue(rules))
		}
		return values, err
	}
	list, err := pushersOfAll(ctx, tx, users)
	for _, set := range list {
		values = append(values, PushersValue(set))
	}
	return values, err
}

// Value is one user's value in a bucket, as read from it or to be written.
type Value struct {
	Bucket  Bucket
	User    events.UserID
	Version int64
	Filled  bool // false if the user has no key in the bucket
	Content any  // the value without user and version

	Pushers events.UserPushers   // in PUSHERS
	Rules   events.UserPushRules // in PUSH_RULES
}

// PushersValue returns a value of the bucket PUSHERS.
func PushersValue(set events.UserPushers) Value {
	return Value{
		Bucket: InPushers, User: set.UserID, Version: set.Version, Filled: len(set.Pushers) > 0, Content: set.Pushers,
		Pushers: set,
	}
}

// PushRulesValue returns a value of the bucket PUSH_RULES.
func PushRulesValue(rules events.UserPushRules) Value {
	content := rules
	content.UserID, content.Version = "", 0
	return Value{
		Bucket: InPushRules, User: rules.UserID, Version: rules.Version, Filled: !rules.IsEmpty(), Content: content,
		Rules: rules,
	}
}
