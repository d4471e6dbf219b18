package dispatcher

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

// outcomeKind is what becomes of a poke after one try.
type outcomeKind uint8

const (
	outcomeDelivered outcomeKind = iota
	outcomeRejected              // the gateway refuses the pushkey: the pusher goes
	outcomeRetry                 // try again soon
	outcomeSlow                  // try again, but somebody has to mend something first
	outcomePaused                // not tried: the gateway is to be left alone
	outcomeExpired               // not tried: older than its time to live
)

func (k outcomeKind) String() string {
	return [...]string{"delivered", "rejected", "retry", "slow", "paused", "expired"}[k]
}

// outcome is one try's result. class is from a closed set of words, fit for
// logs and the operator; it never carries what the gateway said.
type outcome struct {
	kind       outcomeKind
	class      string
	status     int           // HTTP status, 0 if none came
	retryAfter time.Duration // what the gateway asked for, 0 if nothing
}

// classNATS is the class of what failed on our side of the walk.
const classNATS = "nats"

// classRecord is why a pusher lags whose record in BACKLOG could not be read.
const classRecord = "record"

// asked says whether the gateway was asked at all.
func (o outcome) asked() bool { return o.kind != outcomePaused && o.kind != outcomeExpired }

// works says whether the gateway did what it is for.
func (o outcome) works() bool { return o.kind == outcomeDelivered || o.kind == outcomeRejected }

// overload says whether the gateway has more to do than it can.
func (o outcome) overload() bool {
	return o.status == http.StatusTooManyRequests || o.status == http.StatusServiceUnavailable || o.class == "timeout"
}

// answer is what came back for a poke: a status with header and body, or err.
type answer struct {
	status     int
	retryAfter string // header Retry-After
	encoding   string // header Content-Encoding
	body       []byte
	err        error
}

// maxRetryAfter bounds how long a gateway may ask us to stay away.
const maxRetryAfter = time.Hour

// decide is the one place that says what an answer means (DESIGN.md §7).
func decide(a answer, pushkey string, now time.Time) outcome {
	if a.err != nil {
		return decideError(a.err)
	}
	out := outcome{status: a.status, class: "http_" + strconv.Itoa(a.status)}
	switch {
	case a.status >= 200 && a.status < 300:
		plain, err := pushgateway.Decode(a.encoding, a.body)
		if err != nil {
			return outcome{kind: outcomeSlow, class: "body_too_large", status: a.status}
		}
		if pushgateway.ReadRejected(plain, pushkey) {
			return outcome{kind: outcomeRejected, class: "rejected", status: a.status}
		}
		return outcome{kind: outcomeDelivered, status: a.status}
	case a.status == http.StatusTooManyRequests, a.status == http.StatusServiceUnavailable:
		out.kind = outcomeRetry
		out.retryAfter = parseRetryAfter(a.retryAfter, now)
	case a.status == http.StatusRequestTimeout, a.status == http.StatusTooEarly, a.status >= 500:
		out.kind = outcomeRetry
	default:
		out.kind = outcomeSlow
	}
	return out
}

// decideError sorts what went wrong before an answer was complete.
func decideError(err error) outcome {
	var (
		dns     *net.DNSError
		timeout interface{ Timeout() bool }
	)
	switch {
	case errors.Is(err, pushgateway.ErrBlocked):
		return outcome{kind: outcomeSlow, class: "blocked_address"}
	case isTLS(err):
		return outcome{kind: outcomeSlow, class: "tls"}
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		return outcome{kind: outcomeSlow, class: "body_too_large"}
	case errors.Is(err, errHeadTooLarge):
		return outcome{kind: outcomeSlow, class: "headers_too_large"}
	case errors.Is(err, errNotHTTP):
		return outcome{kind: outcomeSlow, class: "not_http"}
	case errors.As(err, &dns):
		return outcome{kind: outcomeRetry, class: "dns"}
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return outcome{kind: outcomeRetry, class: "timeout"}
	case errors.Is(err, syscall.ECONNREFUSED):
		return outcome{kind: outcomeRetry, class: "refused"}
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, fasthttp.ErrConnectionClosed):
		return outcome{kind: outcomeRetry, class: "reset"}
	}
	return outcome{kind: outcomeRetry, class: "network"}
}

// isTLS says whether the two sides could not agree on a secure connection,
// which no retry in a hurry mends.
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

// parseRetryAfter reads the header of RFC 9110, section 10.2.3: seconds or an
// HTTP date. What is not one of them, or lies in the past, asks for nothing;
// what is longer than an hour asks for an hour.
func parseRetryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	if value == "" {
		return 0
	}
	if isDigits(value) {
		seconds, err := strconv.Atoi(value)
		if err != nil || seconds > int(maxRetryAfter/time.Second) {
			return maxRetryAfter
		}
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	// Dates have whole seconds: the gateway may mean the end of that second.
	return min(max(at.Add(time.Second).Sub(now), 0), maxRetryAfter)
}

func isDigits(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' }) < 0
}
