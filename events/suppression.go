package events

import "fmt"

// Suppression is why a room event did not notify a user, or anybody. The set is closed: its
// names are also values of the label "reason" of the metric poked_suppressed_total, and what
// poked trace prints.
type Suppression uint8

// The reasons. If several apply, the first of them counts.
const (
	NotSuppressed     Suppression = iota
	SuppressRepeated              // the homeserver published the event before
	SuppressPast                  // it was published as historical
	SuppressRedacted              // it had been redacted when it arrived
	SuppressOwnEvent              // the user sent it
	SuppressNotJoined             // the user was not in the room, and the event does not invite them
	SuppressNoPusher              // the user has no enabled pusher
	SuppressMuted                 // the rule that matched does not notify
	SuppressNoRule                // no rule matched
	SuppressIgnored               // the user ignores the sender
	SuppressRead                  // the user had read it before poked received it

	Suppressions // how many there are
)

// String returns the name of the reason, or "" for [NotSuppressed].
func (s Suppression) String() string {
	return [Suppressions]string{
		SuppressRepeated: "repeated", SuppressPast: "historical", SuppressRedacted: "redacted", SuppressOwnEvent: "own_event",
		SuppressNotJoined: "not_joined", SuppressNoPusher: "no_pusher", SuppressIgnored: "ignored_sender",
		SuppressMuted: "muted", SuppressNoRule: "no_rule", SuppressRead: "already_read",
	}[s]
}

// MarshalText returns the name of the reason.
func (s Suppression) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the name of a reason.
func (s *Suppression) UnmarshalText(name []byte) error {
	for *s = range Suppressions {
		if s.String() == string(name) {
			return nil
		}
	}
	return fmt.Errorf("no reason is called %q", name)
}
