package events

import (
	"encoding/json"
	"fmt"

	"poked/events/pushrule"
)

// UserPushRules is the value of a key in the PUSH_RULES bucket: how one user's push rules
// differ from the predefined ones, whom the user ignores, and where they want no pokes. Version grows with every
// change. A user who never changed anything has no key.
type UserPushRules struct {
	UserID  UserID `json:"user_id"`
	Version int64  `json:"version"`
	// Changes are the user's changes to the predefined rules, as clients made them at the
	// registry.
	Changes pushrule.Changes `json:"changes,omitzero"`
	// Published is the ruleset as the homeserver published it, if it does (account data
	// m.push_rules, "global"). It replaces Changes.
	Published *pushrule.Ruleset `json:"published,omitempty"`
	// Devices are the rules of single devices, by instance handle. For that device's
	// pushers they are evaluated before the others.
	Devices map[string]pushrule.Ruleset `json:"devices,omitempty"`
	// IgnoredUsers are the senders whose events never notify the user (account data
	// m.ignored_user_list).
	IgnoredUsers []UserID `json:"ignored_users,omitempty"`
	// DoNotDisturb is where the user wants to hear nothing for now, nil for nowhere (account
	// data m.do_not_disturb, MSC4359).
	DoNotDisturb *DoNotDisturb `json:"do_not_disturb,omitempty"`

	// Revision is the revision of PUSH_RULES from which the value was read.
	Revision uint64 `json:"-"`
}

// IsEmpty reports whether the user has the predefined rules, ignores nobody and may be disturbed.
func (r *UserPushRules) IsEmpty() bool {
	return r.Changes.IsZero() && r.Published == nil && len(r.Devices) == 0 && len(r.IgnoredUsers) == 0 && r.DoNotDisturb == nil
}

// Global returns the rules that apply to all of the user's devices. Predefined rules that
// the homeserver's ruleset lacks are in it: see [pushrule.Ruleset.Completed]. Without a
// ruleset of the homeserver the rules of proposals are in it, whether they are offered or not:
// see [pushrule.Ruleset.Offering].
func (r *UserPushRules) Global() pushrule.Ruleset {
	if r.Published != nil {
		return r.Published.Completed(string(r.UserID))
	}
	return r.Changes.Ruleset(string(r.UserID))
}

// ParseUserPushRules parses a value of the PUSH_RULES bucket.
func ParseUserPushRules(raw []byte) (UserPushRules, error) {
	var set UserPushRules
	if err := json.Unmarshal(raw, &set); err != nil {
		return UserPushRules{}, fmt.Errorf("decode push rules: %w", err)
	}
	if set.UserID == "" {
		return UserPushRules{}, fmt.Errorf("decode push rules: user_id is missing")
	}
	return set, nil
}
