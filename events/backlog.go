package events

import (
	"time"
)

// Backlog is the position of a pusher that lags behind its user's notifications, and its
// retry state. It is the value of <part>.<pusher> in the BACKLOG bucket.
type Backlog struct {
	UserID   UserID `json:"user_id"`
	Position uint64 `json:"position"` // NOTIFICATIONS sequence up to which everything was delivered or skipped
	Attempts int    `json:"attempts"` // failed attempts in a row
	// Alone is how many of Attempts were made while the gateway was not down.
	Alone     int       `json:"alone,omitempty"`
	Since     time.Time `json:"since"`      // when the pusher began to lag
	NextTry   time.Time `json:"next_try"`   // the next attempt is made no earlier
	LastError string    `json:"last_error"` // class of the last failure
	// PausedUntil is the time until which the gateway asked for no requests
	// (Retry-After).
	PausedUntil time.Time `json:"paused_until,omitzero"`
	// PassedOver counts notifications that were skipped in favour of a newer one in the
	// same room.
	PassedOver uint64 `json:"passed_over,omitempty"`
	// Badge reports that the pusher still needs the unread count, after everything else
	// was delivered.
	Badge bool `json:"badge,omitempty"`
	// Rang are the calls after Position that were delivered before what waits, by their
	// sequence in NOTIFICATIONS.
	Rang []uint64 `json:"rang,omitempty"`
	// Handed is the pusher that has taken over what waited for this one, because it follows
	// it ([Pusher.Follows]); what waits here came later.
	Handed PusherID `json:"handed,omitempty"`

	Revision uint64 `json:"-"` // of the entry when it was read
	// Lost reports that the entry could not be read: all that is known is that the pusher
	// lagged.
	Lost bool `json:"-"`
}
