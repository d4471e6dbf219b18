package events

import "encoding/json"

// The last token of a subject in ACCOUNTS.
const (
	AccountLogout       = "logout"
	AccountDeactivated  = "deactivated"
	AccountPushRules    = "push_rules"
	AccountIgnoredUsers = "ignored_users"
)

// AccountSubject is where a homeserver publishes a change of an account.
func AccountSubject(user UserID, what string) string { return "account." + Token(user) + "." + what }

// AccountChange is what a homeserver says of an account; see [Publisher].
type AccountChange struct {
	Kind     string // "logout", "deactivated", "push_rules" or "ignored_users"
	UserID   UserID
	DeviceID string // for logout; empty means all devices
	// Content is the account data m.push_rules or m.ignored_user_list.
	Content json.RawMessage
}
