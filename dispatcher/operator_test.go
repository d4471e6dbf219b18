package dispatcher_test

import (
	"net/http"
	"testing"
	"time"

	"poked/dispatcher/dispatchertest"
	"poked/events"
	"poked/events/eventstest"
	"poked/events/owner"
)

func TestOperatorSeesAPusherThatLags(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Register("@bob:x", "gw.test", "SECRET")
		h.Start()
		if s := h.OnePusher("@bob:x"); s.State != "idle" || !s.LastSuccess.IsZero() {
			t.Errorf("before anything happened: %+v", s)
		}
		if all := h.Pushers(events.PusherFilter{}); len(all) != 0 {
			t.Errorf("listed pushers that had no notification: %+v", all)
		}
		h.Room("!r", "@alice:x", "@bob:x")
		h.Say("!r", "@alice:x", 0, 2)
		last := h.Arrived(2)[1].At
		<-time.After(time.Second)
		want := events.PusherState{
			UserID: "@bob:x", AppID: "app", Pusher: events.NewPusherID("@bob:x", "app", "SECRET"),
			Gateway: "http://gw.test:80", State: "idle", LastSuccess: last.Truncate(time.Second).UTC(),
		}
		if s := h.OnePusher("@bob:x"); s != want {
			t.Errorf("after two pokes: %+v, want %+v", s, want)
		}
		h.GatewayDown()
		h.Say("!r", "@alice:x", 2, 3)
		fell := time.Now()
		<-time.After(10 * time.Minute)
		asked := time.Now()
		s := h.OnePusher("@bob:x")
		down, err := h.Operator.Dispatchers(t.Context())
		if err != nil || len(down) != 1 || down[0].Lagging != 1 || down[0].Delivered != 2 || down[0].Failed < 3 || down[0].Notifications != 5 ||
			down[0].OldestDue.Sub(fell).Abs() > time.Second || len(down[0].Owned) == 0 {
			t.Errorf("the dispatcher reports %+v, %v", down, err)
		}
		for gateway, err := range h.Operator.Gateways(t.Context()) {
			if err != nil || gateway.Since.Before(fell) || gateway.Since.Sub(fell) > time.Minute {
				t.Errorf("down since %v, it fell at %v: %v", gateway.Since, fell, err)
			}
		}
		if s.State != "lagging" || s.LastError != "http_502" || s.LastErrorAt.Before(fell) || s.LastSuccess != want.LastSuccess ||
			s.Attempts < 3 || s.Since.Sub(fell).Abs() > time.Second || s.NextTry.Before(asked.Add(-time.Second)) || s.Waiting != 3 || s.Estimated {
			t.Errorf("while it lags: %+v", s)
		}
		states, err := owner.NewClient(h.Conn).PusherStates(t.Context(), "@bob:x")
		if err != nil || len(states) != 1 || states[0].Because != s.Because || states[0].LastSuccess != s.LastSuccess || !states[0].Failing() {
			t.Errorf("as its user sees it: %+v, %v", states, err)
		}
		if states, err := owner.NewClient(h.Conn).PusherStates(t.Context(), "@nobody:x"); err != nil || len(states) != 0 {
			t.Errorf("of a user without pushers: %+v, %v", states, err)
		}
		h.Halt()
		if _, err := h.Operator.RetryPushers(t.Context(), events.PusherFilter{}); err == nil {
			t.Error("a stopped dispatcher answers")
		}
		if _, err := owner.NewClient(h.Conn).PusherStates(t.Context(), "@bob:x"); err == nil {
			t.Error("a stopped dispatcher tells the state of pushers")
		}
		h.Start()
		after := h.OnePusher("@bob:x")
		if after.State != "lagging" || after.LastError != "http_502" || after.Attempts < s.Attempts ||
			!after.Since.Equal(s.Since) || after.NextTry.IsZero() || after.Waiting != 3 || after.Estimated {
			t.Errorf("after a restart: %+v", after)
		}
		h.GatewayUp()
		h.CaughtUp()
		for gateway, err := range h.Operator.Gateways(t.Context()) {
			if err != nil || gateway.State == events.GatewayOpen || time.Since(gateway.Since) > time.Minute {
				t.Errorf("it works again since %v, now %v: %v %v", gateway.Since, time.Now(), gateway.State, err)
			}
		}
		if s := h.OnePusher("@bob:x"); s.State != "idle" || s.Attempts != 0 || s.Waiting != 0 || !s.Since.IsZero() {
			t.Errorf("after it caught up: %+v", s)
		}
	})
}

func TestOperatorFiltersPushers(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Register("@bob:x", "gw.test", "one", "two", "three")
		h.Register("@eve:x", "slow.test", "eve")
		h.Register("@dan:x", "gw.test", "dan")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x", "@eve:x", "@dan:x")
		h.Gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
			switch p.Pushkey {
			case "eve":
				return eventstest.Reply{Status: http.StatusBadGateway}
			case "dan":
				return eventstest.Reply{Body: `{"rejected":["dan"]}`}
			}
			return eventstest.Reply{}
		})
		h.Say("!r", "@alice:x", 0, 1)
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
			{events.PusherFilter{Pusher: events.NewPusherID("@bob:x", "app", "two")}, 1},
			{events.PusherFilter{State: "idle", Gateway: "http://slow.test:80"}, 0},
		} {
			if got := h.Pushers(tt.filter); len(got) != tt.want {
				t.Errorf("%+v: %d pushers, want %d: %+v", tt.filter, len(got), tt.want, got)
			}
		}
		gateways := map[string]int{}
		for g, err := range h.Operator.Gateways(t.Context()) {
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
		h.SpanHours()
		h.Register("@bob:x", "gw.test", "bob")
		h.Register("@eve:x", "slow.test", "eve")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x", "@eve:x")
		h.Gateway.Answer(dispatchertest.Always(eventstest.Reply{Status: http.StatusNotFound})) // tried again after a minute to an hour
		h.Say("!r", "@alice:x", 0, 2)
		<-time.After(30 * time.Minute)
		h.GatewayUp()
		if n := h.RetryPushers(events.PusherFilter{Gateway: "http://gw.test:80"}); n != 1 {
			t.Errorf("%d pushers are retried, want 1", n)
		}
		<-time.After(time.Second)
		if got := h.Delivered("bob") + "; " + h.Delivered("eve"); got != "r-0 r-1; " {
			t.Errorf("a second after the retry of bob: %q", got)
		}
		if n := h.RetryPushers(events.PusherFilter{}); n != 1 {
			t.Errorf("%d pushers are retried, want 1", n)
		}
		<-time.After(time.Second)
		h.Check("@bob:x", 0, "bob")
		h.Check("@eve:x", 0, "eve")
	})
}

// An operator's retry does not shorten the pause that a gateway asked for.
func TestG6OperatorDoesNotUndercutRetryAfter(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.SpanHours()
		h.Register("@bob:x", "gw.test", "bob")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		h.Gateway.Answer(dispatchertest.Always(eventstest.Reply{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"600"}}}))
		h.Say("!r", "@alice:x", 0, 1)
		<-time.After(time.Second)
		h.GatewayUp()
		before := h.OnePusher("@bob:x")
		for range 10 {
			if n := h.RetryPushers(events.PusherFilter{}); n != 1 {
				t.Errorf("%d pushers are retried, want 1", n)
			}
			<-time.After(10 * time.Second)
		}
		if n := len(h.Gateway.Tried()); n != 1 {
			t.Errorf("%d requests within the pause, want 1", n)
		}
		if s := h.OnePusher("@bob:x"); s.Attempts != before.Attempts || s.LastErrorAt != before.LastErrorAt {
			t.Errorf("a retry within the pause counts as a failure: %+v", s)
		}
		h.CaughtUp()
		h.Check("@bob:x", 0, "bob")
	})
}
