package events

import (
	"time"
)

// Backlog is what is known of a pusher that lags: where it stands in its
// user's notifications, and how it came to stand there. It is the value of
// <part>.<pusher> in the BACKLOG bucket.
type Backlog struct {
	UserID   UserID `json:"user_id"`
	Position uint64 `json:"position"` // newest NOTIFICATIONS sequence that it was told or has passed
	Attempts int    `json:"attempts"` // failed in a row
	// Alone is how many of Attempts were made while the gateway was not down.
	Alone     int       `json:"alone,omitempty"`
	Since     time.Time `json:"since"`      // when it began to lag
	NextTry   time.Time `json:"next_try"`   // not before
	LastError string    `json:"last_error"` // class of the last failure
	// PausedUntil is until when the gateway asked to be left alone.
	PausedUntil time.Time `json:"paused_until,omitzero"`
	// PassedOver is how many notifications it was not told because newer ones of
	// the same room were.
	PassedOver uint64 `json:"passed_over,omitempty"`
	// Badge says that the pusher has yet to be told how much is unread, when it has
	// been told everything else.
	Badge bool `json:"badge,omitempty"`

	Revision uint64 `json:"-"` // of the entry, as it was read
	// Lost says that the entry could not be read: of the pusher nothing is known but
	// that it lagged.
	Lost bool `json:"-"`
}
