package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"poked/events"
	"poked/events/eventstest"
	"poked/registry/problem"
)

func TestRateLimit(t *testing.T) {
	eventstest.Long(t)
	h := newHouse(t, func(c *Config) { c.Rate, c.Burst = 0.001, 2 })
	for range 2 {
		h.set("alice-phone", body())
	}
	// One bucket for each user, whatever the device and path.
	status, header, answer := h.request("GET", prefixR0+"/pushers", "alice-laptop", "")
	var e errorBody
	if err := json.Unmarshal(answer, &e); err != nil || status != http.StatusTooManyRequests || e.Errcode != "M_LIMIT_EXCEEDED" {
		t.Fatalf("%d %s", status, answer)
	}
	rounded := fmt.Sprint((e.RetryAfterMS + 999) / 1000) // up, to seconds
	if header.Get("Retry-After") != rounded || e.RetryAfterMS < 900_000 || e.RetryAfterMS > 1_000_000 {
		t.Errorf("Retry-After %q, retry_after_ms %d", header.Get("Retry-After"), e.RetryAfterMS)
	}
	h.set("bob-phone", body())
}

func TestLimiterRefills(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, err := newLimiter(10, 1)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.admit(alice); err != nil {
			t.Fatal(err)
		}
		var refused *problem.Error
		for range 3 { // refusals do not extend the wait
			if err := l.admit(alice); !errors.As(err, &refused) || refused.RetryAfter != 100*time.Millisecond {
				t.Fatalf("refused: %+v", refused)
			}
		}
		<-time.After(refused.RetryAfter)
		if err := l.admit(alice); err != nil {
			t.Errorf("after Retry-After: %v", err)
		}
	})
}

func TestLimiterIsBounded(t *testing.T) {
	l, err := newLimiter(1, 1)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 * maxLimiters {
		_ = l.admit(events.UserID(fmt.Sprint(i)))
	}
	if l.users.Len() != maxLimiters {
		t.Errorf("%d users remembered", l.users.Len())
	}
}

func TestCeil(t *testing.T) {
	for _, c := range []struct {
		d    time.Duration
		want int64
	}{{0, 0}, {1, 1}, {time.Second, 1}, {time.Second + 1, 2}} {
		if got := ceil(c.d, time.Second); got != c.want {
			t.Errorf("ceil(%s) = %d, want %d", c.d, got, c.want)
		}
	}
}
