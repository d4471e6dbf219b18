package dispatcher

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strconv"
	"testing"
	"time"

	"poked/events/pushgateway"
)

// One status, one outcome: the rows of DESIGN.md §7 that have one.
func TestDecideStatus(t *testing.T) {
	want := map[int]outcomeKind{
		200: outcomeDelivered, 201: outcomeDelivered, 204: outcomeDelivered, 299: outcomeDelivered,
		301: outcomeSlow, 302: outcomeSlow, 304: outcomeSlow, 307: outcomeSlow, 308: outcomeSlow,
		400: outcomeSlow, 401: outcomeSlow, 403: outcomeSlow, 404: outcomeSlow, 405: outcomeSlow, 410: outcomeSlow,
		413: outcomeSlow, 418: outcomeSlow, 451: outcomeSlow,
		408: outcomeRetry, 425: outcomeRetry, 429: outcomeRetry,
		500: outcomeRetry, 502: outcomeRetry, 503: outcomeRetry, 504: outcomeRetry, 599: outcomeRetry,
	}
	for status, kind := range want {
		out := decide(answer{status: status, body: []byte("{}")}, "key", time.Now())
		if out.kind != kind || out.status != status {
			t.Errorf("%d: %v with status %d, want %v", status, out.kind, out.status, kind)
		}
		if kind != outcomeDelivered && out.class != "http_"+strconv.Itoa(status) {
			t.Errorf("%d: class %q", status, out.class)
		}
	}
}

func TestDecideRejected(t *testing.T) {
	for body, want := range map[string]outcomeKind{
		"":                             outcomeDelivered,
		"{}":                           outcomeDelivered,
		"not JSON":                     outcomeDelivered,
		`{"rejected":[]}`:              outcomeDelivered,
		`{"rejected":["other"]}`:       outcomeDelivered,
		`{"rejected":"key"}`:           outcomeDelivered,
		`{"rejected":["key"]}`:         outcomeRejected,
		`{"rejected":["other","key"]}`: outcomeRejected,
	} {
		if out := decide(answer{status: 200, body: []byte(body)}, "key", time.Now()); out.kind != want {
			t.Errorf("%s: %v, want %v", body, out.kind, want)
		}
	}
	out := decide(answer{status: 500, body: []byte(`{"rejected":["key"]}`)}, "key", time.Now())
	if out.kind != outcomeRetry {
		t.Errorf("a failure that rejects is %v, want retry", out.kind)
	}
}

func TestParseRetryAfter(t *testing.T) {
	now := time.Date(2030, 1, 2, 3, 4, 5, 600_000_000, time.UTC)
	date := func(after time.Duration) string { return now.Add(after).Format(http.TimeFormat) }
	for _, tc := range []struct {
		value    string
		min, max time.Duration // max is 0 if it must be exactly min
	}{
		{value: "", min: 0},
		{value: "0", min: 0},
		{value: "1", min: time.Second},
		{value: " 120 ", min: 2 * time.Minute},
		{value: "3600", min: time.Hour},
		{value: "3601", min: time.Hour},
		{value: "99999999999999999999999", min: time.Hour},
		{value: "-5", min: 0},
		{value: "+5", min: 0},
		{value: "1.5", min: 0},
		{value: "0x10", min: 0},
		{value: "soon", min: 0},
		{value: "١٢", min: 0}, // digits, but not of HTTP
		{value: date(time.Minute), min: time.Minute, max: time.Minute + time.Second},
		{value: now.Add(time.Minute).Format(time.RFC850), min: time.Minute, max: time.Minute + time.Second},
		{value: now.Add(time.Minute).Format(time.ANSIC), min: time.Minute, max: time.Minute + time.Second},
		{value: date(240 * time.Hour), min: time.Hour},
		{value: date(-time.Hour), min: 0},
		{value: "Wed, 02 Jan 2030 03:04", min: 0},
	} {
		got := parseRetryAfter(tc.value, now)
		if got < tc.min || got > max(tc.min, tc.max) {
			t.Errorf("%q: %v, want %v to %v", tc.value, got, tc.min, max(tc.min, tc.max))
		}
	}
}

func TestRetryAfterCountsWith429And503Only(t *testing.T) {
	for status, want := range map[int]time.Duration{
		200: 0, 302: 0, 408: 0, 404: 0, 500: 0, 502: 0,
		429: time.Minute, 503: time.Minute,
	} {
		if out := decide(answer{status: status, retryAfter: "60"}, "key", time.Now()); out.retryAfter != want {
			t.Errorf("%d: %v, want %v", status, out.retryAfter, want)
		}
	}
}

// Where no connection comes about. What a gateway does with one is in
// TestHostileGateways.
func TestDecideNoConnection(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_ = listener.Close()
	direct := new(net.Dialer).DialContext
	noDNS := (&net.Dialer{Resolver: &net.Resolver{
		PreferGo: true,
		Dial: func(context.Context, string, string) (net.Conn, error) {
			return nil, errors.New("no name server")
		},
	}}).DialContext
	for _, tc := range []struct {
		class string
		kind  outcomeKind
		url   string
		dial  dialFunc
	}{
		{"refused", outcomeRetry, "http://" + address, direct},
		{"dns", outcomeRetry, "http://gateway.example", noDNS},
		{"blocked_address", outcomeSlow, "http://" + address, new(pushgateway.Policy).Dialer(net.Dialer{})},
	} {
		if out := postOnce(newClient(tc.dial, time.Minute, 1), tc.url); out.kind != tc.kind || out.class != tc.class || out.status != 0 {
			t.Errorf("%s: %v %q with status %d, want %v", tc.class, out.kind, out.class, out.status, tc.kind)
		}
	}
}
