package poke

import (
	"net/http"
	"strconv"
)

// Class is why a try went as it did, or why a lane lags. The set is closed: control
// flow, logs and the labels of metrics use the same values. It never carries anything
// that a gateway sent.
type Class uint8

// The classes. HTTP statuses are classes by their first digit, except 429 and 503; the status
// itself is in [Outcome].
const (
	ClassOK    Class = iota // nothing failed
	ClassOther              // in a record of another version of poked

	// There was a response.
	ClassRejected
	ClassHTTP1xx
	ClassHTTP3xx
	ClassHTTP4xx
	ClassHTTP5xx
	ClassHTTP429
	ClassHTTP503
	ClassBodyTooLarge
	ClassHeadersTooLarge
	ClassNotHTTP
	ClassVAPID // a push service does not accept our key for this subscription

	// There was no response.
	ClassTimeout
	ClassRefused // the connection was
	ClassReset
	ClassDNS
	ClassNetwork
	ClassTLS
	ClassBlockedAddress
	ClassRefusedURL

	// No request was sent.
	ClassExpired
	ClassSkipped     // by an operator
	ClassRingOver    // the call that it is about is over
	ClassQuiet       // the user wants no pokes about the room (do not disturb)
	ClassPaused      // the gateway asked for it with Retry-After
	ClassGatewayDown // the circuit breaker is open
	ClassGone        // the gateway has been gone for longer than the operator waits
	ClassMoved       // the pusher has another gateway since
	ClassNATS        // the log could not be read, or an outcome could not be stored
	ClassNoVAPID     // the registry has not published the key for browsers yet

	// The lane lags without a failure.
	ClassSlow    // its gateway takes too long
	ClassBehind  // notifications arrive faster than its gateway answers
	ClassActive  // its user is reading elsewhere (--delay-if-active)
	ClassStopped // the dispatcher stopped
	ClassRecord  // its record in BACKLOG could not be read

	Classes // how many there are
)

// String returns the name of the class, as logs and metrics show it.
func (c Class) String() string {
	return [Classes]string{
		ClassOK: "ok", ClassOther: "other",
		ClassRejected: "rejected", ClassHTTP1xx: "http_1xx", ClassHTTP3xx: "http_3xx", ClassHTTP4xx: "http_4xx",
		ClassHTTP5xx: "http_5xx", ClassHTTP429: "http_429", ClassHTTP503: "http_503",
		ClassBodyTooLarge: "body_too_large", ClassHeadersTooLarge: "headers_too_large", ClassNotHTTP: "not_http",
		ClassVAPID: "vapid_refused", ClassNoVAPID: "no_vapid_key",
		ClassTimeout: "timeout", ClassRefused: "refused", ClassReset: "reset", ClassDNS: "dns", ClassNetwork: "network",
		ClassTLS: "tls", ClassBlockedAddress: "blocked_address", ClassRefusedURL: "refused_url",
		ClassExpired: "expired", ClassSkipped: "skipped", ClassRingOver: "ring_over", ClassQuiet: "do_not_disturb", ClassPaused: "paused", ClassGatewayDown: "gateway_down", ClassGone: "gateway_gone", ClassMoved: "moved", ClassNATS: "nats",
		ClassSlow: "slow", ClassBehind: "behind", ClassActive: "active", ClassStopped: "stopped", ClassRecord: "record",
	}[c]
}

// classOfStatus returns the class of an HTTP status outside 200 to 299.
func classOfStatus(status int) Class {
	switch {
	case status < 100, status > 599:
		return ClassOther // no status of HTTP
	case status == http.StatusTooManyRequests:
		return ClassHTTP429
	case status == http.StatusServiceUnavailable:
		return ClassHTTP503
	case status >= 500:
		return ClassHTTP5xx
	case status >= 400:
		return ClassHTTP4xx
	case status >= 300:
		return ClassHTTP3xx
	}
	return ClassHTTP1xx
}

// Failure is why a lane or gateway last failed, with the HTTP status if that is what
// failed. The zero value is no failure.
type Failure struct {
	Class  Class
	Status uint16 // 0 unless Class is one of HTTP statuses
}

// Because returns a failure that no HTTP status explains.
func Because(c Class) Failure { return Failure{Class: c} }

// String returns the failure as records, dead letters and operators' lists show it:
// "http_" and the status, or the name of the class; "" if nothing failed.
func (f Failure) String() string {
	switch {
	case f.Class == ClassOK:
		return ""
	case f.Status != 0:
		return httpPrefix + strconv.Itoa(int(f.Status))
	}
	return f.Class.String()
}

const httpPrefix = "http_"

// ParseFailure reads what [Failure.String] returned. Text that it does not know is
// [ClassOther]: another version of poked may have written it.
func ParseFailure(text string) Failure {
	if text == "" {
		return Failure{}
	}
	for c := range Classes {
		if c.String() == text {
			return failureOf(c, statusIn(text))
		}
	}
	if status := statusIn(text); status != 0 {
		return failureOf(classOfStatus(status), status)
	}
	return Because(ClassOther)
}

// FailureOf returns the failure of an attempt that was recorded with the name of a class and an
// HTTP status, or 0.
func FailureOf(class string, status int) Failure { return failureOf(ParseFailure(class).Class, status) }

// statusIn returns the HTTP status that text names, 0 if it names none.
func statusIn(text string) int {
	if len(text) != len(httpPrefix)+3 || text[:len(httpPrefix)] != httpPrefix {
		return 0
	}
	status, err := strconv.Atoi(text[len(httpPrefix):])
	if err != nil || classOfStatus(status) == ClassOther || status/100 == 2 {
		return 0
	}
	return status
}

// failureOf returns a failure of a class, which keeps the status if that is what failed.
func failureOf(c Class, status int) Failure {
	if c == ClassOther || c != classOfStatus(status) {
		return Because(c)
	}
	return Failure{Class: c, Status: uint16(status)} //nolint:gosec // 100 to 599
}
