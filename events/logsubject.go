package events

import (
	"fmt"
	"strings"
)

// LogKind is what a message in NOTIFICATIONS is.
type LogKind string

// What stands in NOTIFICATIONS, each under <kind>.<part>.<user>.<room> and, but for
// a redaction, one more token that names the thread.
const (
	// LogNotify is a notification: [Notification].
	LogNotify LogKind = "notify"
	// LogRead says how far the user has read: [Read].
	LogRead LogKind = "read"
	// LogRedacted says that the event of a notification was redacted: [Redaction].
	LogRedacted LogKind = "redacted"
)

func IsLogKind(token string) bool {
	switch LogKind(token) {
	case LogNotify, LogRead, LogRedacted:
		return true
	}
	return false
}

// LogSubject is what the subject of a message in NOTIFICATIONS says.
type LogSubject struct {
	Kind LogKind
	User UserID
	Room RoomID
}

// ParseLogSubject reads the subject of a message in NOTIFICATIONS. Errors wrap
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
	var err error
	if s.User, err = ParseToken[UserID](tokens[2]); err != nil {
		return s, fmt.Errorf("%w: user: %w", ErrBadNotification, err)
	}
	if s.Room, err = ParseToken[RoomID](tokens[3]); err != nil {
		return s, fmt.Errorf("%w: room: %w", ErrBadNotification, err)
	}
	return s, nil
}

// AnyThread is the wildcard that takes the place of a thread's token.
const AnyThread = "*"
