package gateways_test

import (
	"net/http"
	"testing"
	"time"

	"poked/events"
	"poked/events/eventstest"
)

// Whatever Retry-After contains, the gateway is paused at least as long as it asked for, up to
// an hour, and at most as long as a probe waits after that.
func TestG6RetryAfterIsNeverUndercut(t *testing.T) {
	eventstest.Long(t)
	const noPause = 0
	date := func(after time.Duration) func(time.Time) string {
		return func(now time.Time) string { return now.Add(after).UTC().Format(http.TimeFormat) }
	}
	text := func(s string) func(time.Time) string { return func(time.Time) string { return s } }
	for _, tc := range []struct {
		name   string
		status int
		value  func(now time.Time) string
		pause  time.Duration
	}{
		{"seconds", 429, text("90"), 90 * time.Second},
		{"seconds", 503, text("90"), 90 * time.Second},
		{"one second", 429, text("1"), time.Second},
		{"date", 429, date(3 * time.Minute), 3*time.Minute - time.Second},
		{"date", 503, date(20 * time.Minute), 20*time.Minute - time.Second},
		{"an hour", 429, text("3600"), time.Hour},
		{"more than an hour", 429, text("86400"), time.Hour},
		{"huge", 503, text("99999999999999999999"), time.Hour},
		{"date next week", 429, date(7 * 24 * time.Hour), time.Hour},
		{"zero", 429, text("0"), noPause},
		{"negative", 503, text("-30"), noPause},
		{"garbage", 429, text("a while"), noPause},
		{"fraction", 429, text("2.5"), noPause},
		{"empty", 503, text(""), noPause},
		{"past date", 429, date(-time.Hour), noPause},
		{"with another status", 500, text("90"), noPause},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *harness) {
				askOnce(h, tc.status, tc.value, tc.pause+5*time.Second)
				tried := h.Gateway.Tried()
				asked := tried[0].At.Add(time.Millisecond) // when it answered
				var first time.Duration
				for _, p := range tried {
					// Pokes that were in flight do not count.
					if wait := p.At.Sub(asked); wait >= 0 && (first == 0 || wait < first) {
						first = wait
					}
				}
				if first < tc.pause || first > tc.pause+3*time.Second {
					t.Errorf("the next try came after %v, want %v and little more", first, tc.pause)
				}
				if most := h.Gateway.MostAtOnce("gw.test"); most > h.Config.GatewaySlots {
					t.Errorf("the gateway got %d pokes at once, its limit is %d", most, h.Config.GatewaySlots)
				}
				for _, user := range []events.UserID{"@u0:x", "@u19:x"} {
					h.Check(user, 0, string(user[1:len(user)-2]))
				}
			})
		})
	}
}

// askOnce notifies twenty pushers at once. Their gateway answers the first poke with a
// Retry-After. It waits for long, and until every pusher has caught up.
func askOnce(h *harness, status int, value func(now time.Time) string, long time.Duration) {
	h.T.Helper()
	h.SpanHours()
	h.Server.Pulse = 2 * time.Second // the next try is to come on time
	h.Config.Slots = 2               // so that some pokes are queued when the answer arrives
	users := append([]events.UserID{"@alice:x"}, h.RegisterMany(20, "gw.test", "u")...)
	asked := false
	h.Gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
		reply := eventstest.Reply{After: time.Millisecond}
		if !asked {
			asked = true
			reply.Status, reply.Header = status, http.Header{"Retry-After": {value(p.At.Add(reply.After))}}
		}
		return reply
	})
	h.Start()
	h.Room("!r", users...)
	h.Say("!r", "@alice:x", 0, 2)
	<-time.After(long)
	h.CaughtUp()
}
