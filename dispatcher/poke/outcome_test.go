package poke

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

// Each status has its outcome of the table in the package comment.
func TestDecideStatus(t *testing.T) {
	want := map[int]Kind{
		200: Delivered, 201: Delivered, 204: Delivered, 299: Delivered,
		301: Slow, 302: Slow, 304: Slow, 307: Slow, 308: Slow,
		400: Slow, 401: Slow, 403: Slow, 404: Slow, 405: Slow, 410: Slow,
		413: Slow, 418: Slow, 451: Slow,
		408: Retry, 425: Retry, 429: Retry,
		500: Retry, 502: Retry, 503: Retry, 504: Retry, 599: Retry,
	}
	for status, kind := range want {
		out := Decide(Answer{Status: status, Body: []byte("{}")}, "key", time.Now())
		if out.Kind != kind || out.Status != status {
			t.Errorf("%d: %v with status %d, want %v", status, out.Kind, out.Status, kind)
		}
		if kind != Delivered && out.Failure().String() != "http_"+strconv.Itoa(status) {
			t.Errorf("%d: class %q", status, out.Failure())
		}
	}
}

func TestDecideRejected(t *testing.T) {
	for body, want := range map[string]Kind{
		"":                             Delivered,
		"{}":                           Delivered,
		"not JSON":                     Delivered,
		`{"rejected":[]}`:              Delivered,
		`{"rejected":["other"]}`:       Delivered,
		`{"rejected":"key"}`:           Delivered,
		`{"rejected":["key"]}`:         Rejected,
		`{"rejected":["other","key"]}`: Rejected,
	} {
		if out := Decide(Answer{Status: 200, Body: []byte(body)}, "key", time.Now()); out.Kind != want {
			t.Errorf("%s: %v, want %v", body, out.Kind, want)
		}
	}
	out := Decide(Answer{Status: 500, Body: []byte(`{"rejected":["key"]}`)}, "key", time.Now())
	if out.Kind != Retry {
		t.Errorf("a failure that rejects is %v, want retry", out.Kind)
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
		if out := Decide(Answer{Status: status, retryAfter: "60"}, "key", time.Now()); out.RetryAfter != want {
			t.Errorf("%d: %v, want %v", status, out.RetryAfter, want)
		}
	}
}

// A poke without a connection. What a gateway does with one is in TestHostileGateways.
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
		kind  Kind
		url   string
		dial  DialFunc
	}{
		{"refused", Retry, "http://" + address, direct},
		{"dns", Retry, "http://gateway.example", noDNS},
		{"blocked_address", Slow, "http://" + address, new(pushgateway.Policy).Dialer(net.Dialer{})},
	} {
		if out := postOnce(NewClient(tc.dial, time.Minute, 1), tc.url); out.Kind != tc.kind || out.Class.String() != tc.class || out.Status != 0 {
			t.Errorf("%s: %v %q with status %d, want %v", tc.class, out.Kind, out.Class, out.Status, tc.kind)
		}
	}
}
