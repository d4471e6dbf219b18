package dispatcher

import (
	"net/http"
	"testing"
	"time"

	"poked/events"
	"poked/events/eventstest"
)

// pushers returns the pushers that an operator sees.
func (h *harness) pushers(filter events.PusherFilter) []events.PusherState {
	h.t.Helper()
	var states []events.PusherState
	for state, err := range h.conn.Pushers(h.t.Context(), filter) {
		if err != nil {
			h.t.Fatal(err)
		}
		states = append(states, state)
	}
	return states
}

// onePusher returns a user's only pusher as an operator sees it.
func (h *harness) onePusher(user events.UserID) events.PusherState {
	h.t.Helper()
	states := h.pushers(events.PusherFilter{UserID: user})
	if len(states) != 1 {
		h.t.Fatalf("%d pushers of %s, want 1: %+v", len(states), user, states)
	}
	return states[0]
}

// retryPushers retries pushers as an operator does.
func (h *harness) retryPushers(filter events.PusherFilter) int {
	h.t.Helper()
	n, err := h.conn.RetryPushers(h.t.Context(), filter)
	if err != nil {
		h.t.Error(err)
	}
	return n
}

func TestOperatorSeesAPusherThatLags(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.register("@bob:x", "gw.test", "SECRET")
		h.start()
		if s := h.onePusher("@bob:x"); s.State != "idle" || !s.LastSuccess.IsZero() {
			t.Errorf("before anything happened: %+v", s)
		}
		if all := h.pushers(events.PusherFilter{}); len(all) != 0 {
			t.Errorf("listed pushers that had no notification: %+v", all)
		}
		h.room("!r", "@alice:x", "@bob:x")
		h.say("!r", "@alice:x", 0, 2)
		last := h.arrived(2)[1].At
		<-time.After(time.Second)
		want := events.PusherState{
			UserID: "@bob:x", AppID: "app", Pusher: events.NewPusherID("@bob:x", "app", "SECRET"),
			Gateway: "http://gw.test:80", State: "idle", LastSuccess: last.Truncate(time.Second).UTC(),
		}
		if s := h.onePusher("@bob:x"); s != want {
			t.Errorf("after two pokes: %+v, want %+v", s, want)
		}
		h.gateway.Answer(down())
		h.say("!r", "@alice:x", 2, 3)
		fell := time.Now()
		<-time.After(10 * time.Minute)
		asked := time.Now()
		s := h.onePusher("@bob:x")
		if s.State != "lagging" || s.LastError != "http_502" || s.LastErrorAt.Before(fell) || s.LastSuccess != want.LastSuccess ||
			s.Attempts < 3 || s.Since.Sub(fell).Abs() > time.Second || s.NextTry.Before(asked) || s.Waiting != 3 || s.Estimated {
			t.Errorf("while it lags: %+v", s)
		}
		h.halt()
		if _, err := h.conn.RetryPushers(t.Context(), events.PusherFilter{}); err == nil {
			t.Error("a stopped dispatcher answers")
		}
		h.start()
		after := h.onePusher("@bob:x")
		if after.State != "lagging" || after.LastError != "http_502" || after.Attempts < s.Attempts ||
			!after.Since.Equal(s.Since) || after.NextTry.IsZero() || after.Waiting != 3 || after.Estimated {
			t.Errorf("after a restart: %+v", after)
		}
		h.gateway.Answer(up())
		h.caughtUp()
		if s := h.onePusher("@bob:x"); s.State != "idle" || s.Attempts != 0 || s.Waiting != 0 || !s.Since.IsZero() {
			t.Errorf("after it caught up: %+v", s)
		}
	})
}

func TestOperatorFiltersPushers(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.register("@bob:x", "gw.test", "one", "two", "three")
		h.register("@eve:x", "slow.test", "eve")
		h.register("@dan:x", "gw.test", "dan")
		h.start()
		h.room("!r", "@alice:x", "@bob:x", "@eve:x", "@dan:x")
		h.gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
			switch p.Pushkey {
			case "eve":
				return eventstest.Reply{Status: http.StatusBadGateway}
			case "dan":
				return eventstest.Reply{Body: `{"rejected":["dan"]}`}
			}
			return eventstest.Reply{}
		})
		h.say("!r", "@alice:x", 0, 1)
		<-time.After(time.Second)
		for _, tt := range []struct {
			filter events.PusherFilter
			want   int
		}{
			{events.PusherFilter{}, 5},
			{events.PusherFilter{AppID: "app"}, 5},
			{events.PusherFilter{AppID: "other"}, 0},
			{events.PusherFilter{UserID: "@bob:x"}, 3},
			{events.PusherFilter{UserID: "@nobody:x"}, 0},
			{events.PusherFilter{Gateway: "http://gw.test:80"}, 4},
			{events.PusherFilter{State: "lagging"}, 1},
			{events.PusherFilter{State: "refused"}, 1},
			{events.PusherFilter{State: "idle", Gateway: "http://slow.test:80"}, 0},
		} {
			if got := h.pushers(tt.filter); len(got) != tt.want {
				t.Errorf("%+v: %d pushers, want %d: %+v", tt.filter, len(got), tt.want, got)
			}
		}
		gateways := map[string]int{}
		for g, err := range h.conn.Gateways(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			gateways[g.Origin] = g.Lagging
		}
		if gateways["http://slow.test:80"] != 1 {
			t.Errorf("lagging pushers by gateway: %v", gateways)
		}
	})
}

// After a gateway is repaired, an operator need not wait for the next try.
func TestOperatorRetriesPushersNow(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.spanHours()
		h.register("@bob:x", "gw.test", "bob")
		h.register("@eve:x", "slow.test", "eve")
		h.start()
		h.room("!r", "@alice:x", "@bob:x", "@eve:x")
		h.gateway.Answer(always(eventstest.Reply{Status: http.StatusNotFound})) // tried again after a minute to an hour
		h.say("!r", "@alice:x", 0, 2)
		<-time.After(30 * time.Minute)
		h.gateway.Answer(up())
		if n := h.retryPushers(events.PusherFilter{Gateway: "http://gw.test:80"}); n != 1 {
			t.Errorf("%d pushers are retried, want 1", n)
		}
		<-time.After(time.Second)
		if got := delivered(h.gateway.Pokes(), "bob") + "; " + delivered(h.gateway.Pokes(), "eve"); got != "r-0 r-1; " {
			t.Errorf("a second after the retry of bob: %q", got)
		}
		if n := h.retryPushers(events.PusherFilter{}); n != 1 {
			t.Errorf("%d pushers are retried, want 1", n)
		}
		<-time.After(time.Second)
		h.check("@bob:x", 0, "bob")
		h.check("@eve:x", 0, "eve")
	})
}

// An operator's retry does not shorten the pause that a gateway asked for.
func TestG6OperatorDoesNotUndercutRetryAfter(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.register("@bob:x", "gw.test", "bob")
		h.start()
		h.room("!r", "@alice:x", "@bob:x")
		h.gateway.Answer(always(eventstest.Reply{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"600"}}}))
		h.say("!r", "@alice:x", 0, 1)
		<-time.After(time.Second)
		h.gateway.Answer(up())
		before := h.onePusher("@bob:x")
		for range 10 {
			if n := h.retryPushers(events.PusherFilter{}); n != 1 {
				t.Errorf("%d pushers are retried, want 1", n)
			}
			<-time.After(10 * time.Second)
		}
		if n := len(h.gateway.Tried()); n != 1 {
			t.Errorf("%d requests within the pause, want 1", n)
		}
		if s := h.onePusher("@bob:x"); s.Attempts != before.Attempts || s.LastErrorAt != before.LastErrorAt {
			t.Errorf("a retry within the pause counts as a failure: %+v", s)
		}
		h.caughtUp()
		h.check("@bob:x", 0, "bob")
	})
}
