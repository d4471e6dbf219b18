package registry

import (
	"errors"
	"math"
	"net/http"
	"time"

	"poked/registry/database"
)

// problem is a way in which a request can fail. Each has one errcode and one
// HTTP status; see [problem.wire].
type problem int

const (
	internal problem = iota
	notJSON
	badJSON
	missingParam
	invalidParam
	noSuchNeighbour
	forbidden
	notFound
	tooLarge
	missingToken
	unknownToken
	limitExceeded
	natsAway
	storeAway
	unknownPath
	wrongMethod
	userLocked
	noHomeserver
	expiredActivation
	unknownActivation
)

// wire is the one table of errcodes and statuses (client-server API, "Standard
// error response").
func (p problem) wire() (errcode string, status int) {
	table := [...]struct {
		errcode string
		status  int
	}{
		internal:        {"M_UNKNOWN", http.StatusInternalServerError},
		notJSON:         {"M_NOT_JSON", http.StatusBadRequest},
		badJSON:         {"M_BAD_JSON", http.StatusBadRequest},
		missingParam:    {"M_MISSING_PARAM", http.StatusBadRequest},
		invalidParam:    {"M_INVALID_PARAM", http.StatusBadRequest},
		noSuchNeighbour: {"M_UNKNOWN", http.StatusBadRequest},
		forbidden:       {"M_FORBIDDEN", http.StatusForbidden},
		notFound:        {"M_NOT_FOUND", http.StatusNotFound},
		tooLarge:        {"M_TOO_LARGE", http.StatusRequestEntityTooLarge},
		missingToken:    {"M_MISSING_TOKEN", http.StatusUnauthorized},
		unknownToken:    {"M_UNKNOWN_TOKEN", http.StatusUnauthorized},
		limitExceeded:   {"M_LIMIT_EXCEEDED", http.StatusTooManyRequests},
		natsAway:        {"M_UNKNOWN", http.StatusServiceUnavailable},
		storeAway:       {"M_UNKNOWN", http.StatusServiceUnavailable},
		unknownPath:     {"M_UNRECOGNIZED", http.StatusNotFound},
		wrongMethod:     {"M_UNRECOGNIZED", http.StatusMethodNotAllowed},
		userLocked:      {"M_USER_LOCKED", http.StatusUnauthorized},
		noHomeserver:    {"M_UNKNOWN", http.StatusBadGateway},
		// MSC4174
		expiredActivation: {"M_EXPIRED_ACTIVATION_TOKEN", http.StatusBadRequest},
		unknownActivation: {"M_UNKNOWN_ACTIVATION_TOKEN", http.StatusBadRequest},
	}
	return table[p].errcode, table[p].status
}

// apiError is the reason why a request failed, as sent to the client.
type apiError struct {
	problem    problem
	message    string        // a sentence for people
	retryAfter time.Duration // of limitExceeded, natsAway and storeAway
	allow      string        // of wrongMethod: the methods that exist
	softLogout bool          // of unknownToken and userLocked: the client keeps what it has
	cause      error         // of noHomeserver and storeAway, for the log
}

func (e *apiError) Error() string {
	errcode, _ := e.problem.wire()
	return errcode + ": " + e.message
}

// Unwrap returns the cause, if there is one.
func (e *apiError) Unwrap() error { return e.cause }

func fail(p problem, message string) error { return &apiError{problem: p, message: message} }

// asAPIError returns the apiError in err. An error without one is an internal failure:
// the client gets a general message, and the details go to the log.
func asAPIError(err error) *apiError {
	var known *apiError
	if errors.As(err, &known) {
		return known
	}
	if errors.Is(err, ErrStoreAway) {
		retry := retryStore
		if database.FromServer(err) {
			retry = retryServer
		}
		return &apiError{
			problem: storeAway, message: "the server cannot store changes at the moment, try again later", retryAfter: retry, cause: err,
		}
	}
	return &apiError{problem: internal, message: "internal server error, try again later"}
}

// errorBody is the JSON of an error.
type errorBody struct {
	Errcode      string `json:"errcode"`
	Error        string `json:"error"`
	RetryAfterMS int64  `json:"retry_after_ms,omitempty"`
	SoftLogout   bool   `json:"soft_logout,omitempty"`
}

func (e *apiError) body() errorBody {
	errcode, _ := e.problem.wire()
	return errorBody{
		Errcode: errcode, Error: e.message,
		RetryAfterMS: ceil(e.retryAfter, time.Millisecond), SoftLogout: e.softLogout,
	}
}

// ceil returns d in units, rounded up, so that a client that waits that long does not
// come back too early.
func ceil(d, unit time.Duration) int64 {
	return int64(math.Ceil(float64(d) / float64(unit)))
}
