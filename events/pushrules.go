package events

import (
	"encoding/json"
	"fmt"

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
