package events

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"

	"poked/events/pushrule"
)

// UserPushRules is the value of a key in the PUSH_RULES bucket: what one user
// wants to hear that differs from the predefined rules. Version grows with every
// change of it. A user who never changed anything has no key.
type UserPushRules struct {
	UserID  UserID `json:"user_id"`
	Version int64  `json:"version"`
	// Changes are the user's changes to the predefined rules, as clients made
	// them at the registry.
	Changes pushrule.Changes `json:"changes,omitzero"`
	// Published is the whole ruleset as the homeserver keeps and published it
	// (account data m.push_rules, "global"). If there is one it takes the place
	// of the predefined rules with Changes.
	Published *pushrule.Ruleset `json:"published,omitempty"`
	// Devices are the rules of one device each, by instance handle. They are
	// asked for that device's pushers, before the others.
	Devices map[string]pushrule.Ruleset `json:"devices,omitempty"`
	// IgnoredUsers are the senders who never notify the user (account data
	// m.ignored_user_list).
	IgnoredUsers []UserID `json:"ignored_users,omitempty"`
}

// IsEmpty says that the user has the predefined rules and nothing else.
func (r *UserPushRules) IsEmpty() bool {
	return r.Changes.IsZero() && r.Published == nil && len(r.Devices) == 0 && len(r.IgnoredUsers) == 0
}

// Global returns the rules that are the same for all devices of the user.
func (r *UserPushRules) Global() pushrule.Ruleset {
	if r.Published != nil {
		return *r.Published
	}
	return r.Changes.Ruleset(string(r.UserID))
}

func parseUserPushRules(raw []byte) (UserPushRules, error) {
	var set UserPushRules
	if err := json.Unmarshal(raw, &set); err != nil {
		return UserPushRules{}, fmt.Errorf("decode push rules: %w", err)
	}
	if set.UserID == "" {
		return UserPushRules{}, fmt.Errorf("decode push rules: user_id is missing")
	}
	return set, nil
}

func pushRulesBucket() userBucket[UserPushRules] {
	return userBucket[UserPushRules]{
		name: bucketPushRules, what: "push rules",
		none:  func(user UserID) UserPushRules { return UserPushRules{UserID: user} },
		parse: parseUserPushRules,
		owner: func(set UserPushRules) (UserID, bool) { return set.UserID, !set.IsEmpty() },
	}
}

// PutPushRules makes set what dispatchers know of a user's push rules. It
// returns nil only when the bucket has stored it.
func (c *Conn) PutPushRules(ctx context.Context, set UserPushRules) error {
	return pushRulesBucket().put(ctx, c, set)
}

// AllPushRules yields the push rules of every user in the bucket, under the same
// terms as [Conn.AllPushers].
func (c *Conn) AllPushRules(ctx context.Context) iter.Seq2[UserPushRules, error] {
	return pushRulesBucket().all(ctx, c)
}

// WatchPushRules calls apply with the push rules of every user who has any of
// their own, then ready once, then apply with each change, under the same terms
// as [Conn.WatchPushers].
func (c *Conn) WatchPushRules(ctx context.Context, apply func(UserPushRules), ready func()) error {
	return pushRulesBucket().watch(ctx, c, apply, ready)
}
