package events

import "encoding/json"

// The kinds of account changes: the last token of a subject in ACCOUNTS.
const (
	AccountLogout       = "logout"
	AccountDeactivated  = "deactivated"
	AccountPushRules    = "push_rules"
	AccountIgnoredUsers = "ignored_users"
	AccountDoNotDisturb = "do_not_disturb"
	AccountRefetch      = "refetch"
)

// AccountSubject returns the subject on which a homeserver publishes a change of an
// account: account.<user>.<kind>.
func AccountSubject(user UserID, kind string) string { return "account." + Token(user) + "." + kind }

// AccountChange is one change of an account, as a homeserver publishes it.
type AccountChange struct {
	Kind     string // one of the Account… constants
	UserID   UserID
	DeviceID string // of a logout; empty means all devices
	// Content is the content of the account data m.push_rules, m.ignored_user_list
	// or m.do_not_disturb.
	Content json.RawMessage

	// Seq is the change's sequence in ACCOUNTS, and Log tells that stream from one that was
	// made anew and counts from 1 again: when its consumer was made, nanoseconds since the
	// Unix epoch. Both come with the message and are not in its content.
	Seq uint64
	Log int64
}
