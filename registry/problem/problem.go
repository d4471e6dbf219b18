// Package problem names the ways in which a client's request can fail, and has the one table
// of their errcodes and HTTP statuses. Whatever finds the fault returns an [Error], however
// deep it is, and package registry writes it as the answer. An error without one is a fault of
// the server: its client gets [Internal], and its details go to the log.
package problem

import (
	"net/http"
	"time"
)

// Kind is a way in which a request can fail. Each has one errcode and one HTTP status; see
// [Kind.Wire].
type Kind int

// All the ways in which a request can fail.
const (
	Internal Kind = iota
	NotJSON
	BadJSON
	MissingParam
	InvalidParam
	NoSuchNeighbour
	Forbidden
	NotFound
	TooLarge
	MissingToken
	UnknownToken
	LimitExceeded
	NATSAway
	StoreAway
	UnknownPath
	WrongMethod
	UserLocked
	NoHomeserver
	ExpiredActivation
	UnknownActivation
)

// Wire returns the errcode and the HTTP status (client-server API, "Standard error response").
func (k Kind) Wire() (errcode string, status int) {
	table := [...]struct {
		errcode string
		status  int
	}{
		Internal:        {"M_UNKNOWN", http.StatusInternalServerError},
		NotJSON:         {"M_NOT_JSON", http.StatusBadRequest},
		BadJSON:         {"M_BAD_JSON", http.StatusBadRequest},
		MissingParam:    {"M_MISSING_PARAM", http.StatusBadRequest},
		InvalidParam:    {"M_INVALID_PARAM", http.StatusBadRequest},
		NoSuchNeighbour: {"M_UNKNOWN", http.StatusBadRequest},
		Forbidden:       {"M_FORBIDDEN", http.StatusForbidden},
		NotFound:        {"M_NOT_FOUND", http.StatusNotFound},
		TooLarge:        {"M_TOO_LARGE", http.StatusRequestEntityTooLarge},
		MissingToken:    {"M_MISSING_TOKEN", http.StatusUnauthorized},
		UnknownToken:    {"M_UNKNOWN_TOKEN", http.StatusUnauthorized},
		LimitExceeded:   {"M_LIMIT_EXCEEDED", http.StatusTooManyRequests},
		NATSAway:        {"M_UNKNOWN", http.StatusServiceUnavailable},
		StoreAway:       {"M_UNKNOWN", http.StatusServiceUnavailable},
		UnknownPath:     {"M_UNRECOGNIZED", http.StatusNotFound},
		WrongMethod:     {"M_UNRECOGNIZED", http.StatusMethodNotAllowed},
		UserLocked:      {"M_USER_LOCKED", http.StatusUnauthorized},
		NoHomeserver:    {"M_UNKNOWN", http.StatusBadGateway},
		// MSC4174
		ExpiredActivation: {"M_EXPIRED_ACTIVATION_TOKEN", http.StatusBadRequest},
		UnknownActivation: {"M_UNKNOWN_ACTIVATION_TOKEN", http.StatusBadRequest},
	}
	return table[k].errcode, table[k].status
}

// Error is the reason why a request failed, as sent to the client.
type Error struct {
	Kind       Kind
	Message    string        // a sentence for people
	RetryAfter time.Duration // of LimitExceeded, NATSAway and StoreAway
	Allow      string        // of WrongMethod: the methods that exist
	SoftLogout bool          // of UnknownToken and UserLocked: the client keeps what it has
	Cause      error         // of NoHomeserver and StoreAway, for the log
}

// Error returns the errcode and the message.
func (e *Error) Error() string {
	errcode, _ := e.Kind.Wire()
	return errcode + ": " + e.Message
}

// Unwrap returns the cause, if there is one.
func (e *Error) Unwrap() error { return e.Cause }

// New returns an [Error] with a sentence for people.
func New(k Kind, message string) error { return &Error{Kind: k, Message: message} }
