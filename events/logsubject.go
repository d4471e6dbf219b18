package events

import (
	"fmt"
	"strings"
)

// LogKind is the kind of a message in NOTIFICATIONS: the first token of its subject.
type LogKind string

// The kinds of messages in NOTIFICATIONS. Each has the subject
// <kind>.<part>.<user>.<room>, followed, except for a redaction, by a token for the
// thread.
const (
	// LogNotify is a notification: [Notification].
	LogNotify LogKind = "notify"
	// LogRead records how far the user has read: [Read].
	LogRead LogKind = "read"
	// LogRedacted records that the event of a notification was redacted: [Redaction].
	LogRedacted LogKind = "redacted"
)

// IsLogKind reports whether a token is a [LogKind].
func IsLogKind(token string) bool {
	switch LogKind(token) {
	case LogNotify, LogRead, LogRedacted:
		return true
	}
	return false
}

// LogSubject is the parsed subject of a message in NOTIFICATIONS.
type LogSubject struct {
	Kind LogKind
	User UserID
	Room RoomID
	// Thread is the last token of a notification or a read: that of the thread's root,
	// [NoToken] for the main timeline, [Retried] or [WholeRoom].
	Thread string
}

// ParseLogSubject parses the subject of a message in NOTIFICATIONS. Errors wrap
// [ErrBadNotification].
func ParseLogSubject(subject string) (LogSubject, error) {
	tokens := strings.Split(subject, ".")
	s := LogSubject{Kind: LogKind(tokens[0])}
	want := 5
	switch s.Kind {
	case LogNotify, LogRead:
	case LogRedacted:
		want = 4
	default:
		return s, fmt.Errorf("%w: strange subject", ErrBadNotification)
	}
	if len(tokens) != want {
		return s, fmt.Errorf("%w: subject has %d tokens", ErrBadNotification, len(tokens))
	}
	if want == 5 {
		s.Thread = tokens[4]
	}
	var err error
	if s.User, err = ParseToken[UserID](tokens[2]); err != nil {
		return s, fmt.Errorf("%w: user: %w", ErrBadNotification, err)
	}
	if s.Room, err = ParseToken[RoomID](tokens[3]); err != nil {
		return s, fmt.Errorf("%w: room: %w", ErrBadNotification, err)
	}
	return s, nil
}

// AnyThread is the wildcard for the token of a thread.
const AnyThread = "*"

// Tokens that take the place of a thread's root. No id encodes to either, since an encoded
// id has two characters or more.
const (
	WholeRoom = "-" // of a read: all threads
	Retried   = "+" // of a notification: a dead letter that is retried
)
