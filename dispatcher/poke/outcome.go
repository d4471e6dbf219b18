// Package poke makes one request to a push gateway and decides what its answer means.
//
//	body ──▶ Client.Post ──▶ exchange on a kept connection ──▶ Answer ──▶ Decide ──▶ Outcome
//
// An [Outcome] has a [Kind], which decides what happens to the poke, and a [Class], which
// names the reason in logs, metrics and records. A [Schedule] is the backoff after a
// failure, a [Limit] the adaptive concurrency limit of a gateway. A kept-alive POST costs
// 30 to 90 µs of processor time.
//
//	response                                            outcome
//	2xx, our pushkey not in "rejected"                  delivered
//	2xx, our pushkey in "rejected"                      rejected: the pusher is removed, unless set again since
//	408, 425, 429, 5xx, timeout, DNS, reset, refused    retry, with backoff; Retry-After of 429 and 503 wins when longer
//	other 4xx, 3xx, TLS, blocked address, too large,    slow: retry with a longer backoff; a pusher is never
//	not HTTP                                            removed for it
//	413                                                 slow; the poke is sent again, shorter (package deliver)
//	of a browser's push service (RFC 8030): 2xx         delivered
//	404, 410                                            rejected
//	401, 403                                            retry: it does not accept our key, or not for this
//	                                                    browser; package deliver decides which (lane_vapid.go)
//	507                                                 slow: it has no room for this browser
//	gateway gone for longer than --retire-after         retired: the pusher is removed (package deliver)
//	nothing was sent                                    paused, expired, skipped by an operator, or withheld:
//	                                                    of a call that is over, or of a room of which the
//	                                                    user wants to hear nothing for now
//	one poke refused, others taken (package deliver)    refused: a dead letter, its pusher goes on
//
// Every response has an outcome: nothing that a gateway sends causes a panic, a hang beyond
// the time limit or an unbounded read. No connection is opened to an address that the
// operator does not allow (G8); redirects are not followed. The package imports nothing
// else of the dispatcher.
package poke

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"

	"poked/events/pushgateway"
)

// Kind is what becomes of a poke after one try.
type Kind uint8

// The kinds of outcomes.
const (
	Delivered Kind = iota
	Rejected       // the gateway rejects the pushkey: the pusher is removed
	Retry          // try again soon
	Slow           // try again later: something must be repaired first
	Paused         // not sent: the gateway gets no requests now
	Expired        // not sent: older than its time to live
	Refused        // the gateway refuses this poke and takes others: a dead letter
	Skipped        // not sent: an operator put it aside
	Retired        // not sent: the gateway has been gone for long, and the pusher is removed
	Withheld       // not sent, and nothing is wrong: the user is not to be told of it (any more)

	Kinds // how many there are
)

// String returns the name of the kind, as logs and metrics show it.
func (k Kind) String() string {
	return [Kinds]string{
		Delivered: "delivered", Rejected: "rejected", Retry: "retry", Slow: "slow", Paused: "paused", Expired: "expired",
		Refused: "refused", Skipped: "skipped", Retired: "retired", Withheld: "withheld",
	}[k]
}

// Outcome is the result of one try.
type Outcome struct {
	Kind       Kind
	Class      Class
	Status     int           // HTTP status, 0 if none came
	RetryAfter time.Duration // what the gateway asked for, 0 if nothing
}

// Failure returns why the try failed.
func (o Outcome) Failure() Failure { return failureOf(o.Class, o.Status) }

// Asked reports whether a request was sent.
func (o Outcome) Asked() bool {
	return o.Kind != Paused && o.Kind != Expired && o.Kind != Skipped && o.Kind != Retired && o.Kind != Withheld
}

// Works reports whether the gateway works.
func (o Outcome) Works() bool { return o.Kind == Delivered || o.Kind == Rejected }

// Refuses reports whether the gateway answered that it does not take the poke. What it
// answers when it is overloaded, behind a proxy that cannot reach it, or asked too early is
// no refusal.
func (o Outcome) Refuses() bool {
	if o.Kind != Slow && o.Kind != Retry {
		return false
	}
	switch o.Status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return false
	}
	return o.Class == ClassHTTP4xx || o.Class == ClassHTTP5xx
}

// Overload reports whether the outcome is a sign that the gateway is overloaded.
func (o Outcome) Overload() bool {
	return o.Class == ClassHTTP429 || o.Class == ClassHTTP503 || o.Class == ClassTimeout
}

// Answer is the response to a poke, or the error in its place.
type Answer struct {
	Status     int
	retryAfter string // header Retry-After
	encoding   string // header Content-Encoding
	Body       []byte
	err        error
}

// MaxRetryAfter bounds the pause that a gateway may ask for.
const MaxRetryAfter = time.Hour

// Decide returns the outcome of a poke for a pushkey, as the table in the package comment
// says.
func Decide(a Answer, pushkey string, now time.Time) Outcome {
	if a.err != nil {
		return decideError(a.err)
	}
	out := Outcome{Status: a.Status}
	switch {
	case a.Status >= 200 && a.Status < 300:
		plain, err := pushgateway.Decode(a.encoding, a.Body)
		if err != nil {
			return Outcome{Kind: Slow, Class: ClassBodyTooLarge, Status: a.Status}
		}
		if pushgateway.ReadRejected(plain, pushkey) {
			return Outcome{Kind: Rejected, Class: ClassRejected, Status: a.Status}
		}
		return Outcome{Kind: Delivered, Status: a.Status}
	case a.Status == http.StatusTooManyRequests, a.Status == http.StatusServiceUnavailable:
		out.Kind = Retry
		out.RetryAfter = parseRetryAfter(a.retryAfter, now)
	case a.Status == http.StatusRequestTimeout, a.Status == http.StatusTooEarly, a.Status >= 500:
		out.Kind = Retry
	default:
		out.Kind = Slow
	}
	out.Class = classOfStatus(a.Status)
	return out
}

// DecidePush returns the outcome of a poke for a browser, as the table in the package comment
// says.
func DecidePush(a Answer, now time.Time) Outcome {
	if a.err != nil {
		return decideError(a.err)
	}
	switch a.Status {
	case http.StatusNotFound, http.StatusGone:
		return Outcome{Kind: Rejected, Class: ClassRejected, Status: a.Status}
	case http.StatusUnauthorized, http.StatusForbidden:
		return Outcome{Kind: Retry, Class: ClassVAPID, Status: a.Status}
	case http.StatusInsufficientStorage:
		return Outcome{Kind: Slow, Class: ClassHTTP5xx, Status: a.Status}
	}
	a.Body = nil // what it says is not for us
	return Decide(a, "", now)
}

// OfPusher reports whether the outcome says something of the pusher alone, and nothing of its
// gateway: a push service has no room left for what waits for one browser.
func (o Outcome) OfPusher() bool {
	return o.Kind == Slow && o.Status == http.StatusInsufficientStorage
}

// decideError returns the outcome of a request without a complete response.
func decideError(err error) Outcome {
	var (
		dns     *net.DNSError
		timeout interface{ Timeout() bool }
	)
	switch {
	case errors.Is(err, pushgateway.ErrBlocked):
		return Outcome{Kind: Slow, Class: ClassBlockedAddress}
	case isTLS(err):
		return Outcome{Kind: Slow, Class: ClassTLS}
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		return Outcome{Kind: Slow, Class: ClassBodyTooLarge}
	case errors.Is(err, errHeadTooLarge):
		return Outcome{Kind: Slow, Class: ClassHeadersTooLarge}
	case errors.Is(err, errNotHTTP):
		return Outcome{Kind: Slow, Class: ClassNotHTTP}
	case errors.As(err, &dns):
		return Outcome{Kind: Retry, Class: ClassDNS}
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return Outcome{Kind: Retry, Class: ClassTimeout}
	case errors.Is(err, syscall.ECONNREFUSED):
		return Outcome{Kind: Retry, Class: ClassRefused}
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, fasthttp.ErrConnectionClosed):
		return Outcome{Kind: Retry, Class: ClassReset}
	}
	return Outcome{Kind: Retry, Class: ClassNetwork}
}

// isTLS reports whether the two sides could not agree on a secure connection, which a quick
// retry does not change.
func isTLS(err error) bool {
	var (
		verification *tls.CertificateVerificationError
		record       tls.RecordHeaderError
		alert        tls.AlertError
		host         x509.HostnameError
	)
	return errors.As(err, &verification) || errors.As(err, &record) ||
		errors.As(err, &alert) || errors.As(err, &host) ||
		strings.Contains(err.Error(), "tls: ") // most of crypto/tls's errors have no type
}

// parseRetryAfter parses the header Retry-After (RFC 9110, section 10.2.3), seconds or an
// HTTP date. It returns 0 for anything else and for the past, and at most MaxRetryAfter.
func parseRetryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	if value == "" {
		return 0
	}
	if isDigits(value) {
		seconds, err := strconv.Atoi(value)
		if err != nil || seconds > int(MaxRetryAfter/time.Second) {
			return MaxRetryAfter
		}
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	// Dates have whole seconds: the gateway may mean the end of the second.
	return min(max(at.Add(time.Second).Sub(now), 0), MaxRetryAfter)
}

func isDigits(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' }) < 0
}
