package registry

import (
	"errors"
	"math"
	"time"

	"poked/registry/database"
	"poked/registry/problem"
)

// ErrStoreAway reports that the database cannot be used temporarily: its server is away,
// the disk is full, no file descriptor is left, or another program holds a lock.
var ErrStoreAway = database.ErrAway

const (
	// retryStore is the Retry-After while a file cannot be written, retryServer the one
	// while a server is away, which another soon replaces.
	retryStore  = 10 * time.Second
	retryServer = 2 * time.Second
)

// problemOf returns the [problem.Error] in err. An error without one is an internal failure:
// the client gets a general message, and the details go to the log.
func problemOf(err error) *problem.Error {
	var known *problem.Error
	if errors.As(err, &known) {
		return known
	}
	if errors.Is(err, ErrStoreAway) {
		retry := retryStore
		if database.FromServer(err) {
			retry = retryServer
		}
		return &problem.Error{
			Kind: problem.StoreAway, Message: "the server cannot store changes at the moment, try again later", RetryAfter: retry, Cause: err,
		}
	}
	return &problem.Error{Kind: problem.Internal, Message: "internal server error, try again later"}
}

// errorBody is the JSON of an error.
type errorBody struct {
	Errcode      string `json:"errcode"`
	Error        string `json:"error"`
	RetryAfterMS int64  `json:"retry_after_ms,omitempty"`
	SoftLogout   bool   `json:"soft_logout,omitempty"`
}

func bodyOf(e *problem.Error) errorBody {
	errcode, _ := e.Kind.Wire()
	return errorBody{
		Errcode: errcode, Error: e.Message,
		RetryAfterMS: ceil(e.RetryAfter, time.Millisecond), SoftLogout: e.SoftLogout,
	}
}

// ceil returns d in units, rounded up, so that a client that waits that long does not
// come back too early.
func ceil(d, unit time.Duration) int64 {
	return int64(math.Ceil(float64(d) / float64(unit)))
}
