package dispatcher_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"poked/dispatcher/dispatchertest"
	"poked/events"
	"poked/events/eventstest"
	"poked/events/owner"
)

// test sends a test push to a pusher of the app of all tests.
func (h *harness) test(user events.UserID, pushkey string) events.TestResult {
	h.T.Helper()
	result, err := owner.NewClient(h.Conn).TestPusher(h.T.Context(), events.TestPush{UserID: user, Pusher: events.NewPusherID(user, "app", pushkey), EventID: "$test"})
	if err != nil {
		h.T.Errorf("test push to %s: %v", pushkey, err)
	}
	return result
}

// Each answer of a gateway has its result, and what must not be sent is not.
func TestTestPushResults(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Hosts = []string{"429.test", "hang.test", "gone.test"}
		hosts := map[string]string{"429": "429.test", "hang": "hang.test", "gone": "gone.test", "forbidden": "elsewhere.test"}
		keys := []string{"ok", "rejected", "404", "429", "hang", "gone", "forbidden"}
		var pushers []events.Pusher
		for _, key := range keys {
			p := events.Pusher{Pushkey: key}
			if host := hosts[key]; host != "" {
				p.Data = dispatchertest.DataAt(host)
			}
			pushers = append(pushers, p)
		}
		h.RegisterAll("@bob:x", pushers...)
		h.Start()
		h.Gateway.Refuse(func(host string) bool { return host == "gone.test" })
		h.Gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
			switch p.Pushkey {
			case "rejected":
				return eventstest.Reply{Body: `{"rejected":["rejected"]}`}
			case "404":
				return eventstest.Reply{Status: http.StatusNotFound}
			case "429":
				return eventstest.Reply{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"60"}}}
			case "hang":
				return eventstest.Reply{After: time.Hour}
			}
			return eventstest.Reply{}
		})
		retryAt := map[string]bool{"429": true, "429 again": true}
		for _, tt := range []struct {
			name string
			want events.TestResult
			took time.Duration
			sent bool
		}{
			{"ok", events.TestResult{Status: "ok", HTTPStatus: 200, Gateway: "http://gw.test:80"}, 0, true},
			{"rejected", events.TestResult{Status: "rejected", Class: "rejected", HTTPStatus: 200, Gateway: "http://gw.test:80"}, 0, true},
			{"404", events.TestResult{Status: "unreachable", Class: "http_4xx", HTTPStatus: 404, Gateway: "http://gw.test:80"}, 0, true},
			{"429", events.TestResult{Status: "rate_limited", Class: "http_429", HTTPStatus: 429, Gateway: "http://429.test:80"}, 0, true},
			{"429 again", events.TestResult{Status: "rate_limited", Class: "paused", Gateway: "http://429.test:80"}, 0, false},
			{"hang", events.TestResult{Status: "unreachable", Class: "slow", Gateway: "http://hang.test:80"}, 6 * time.Second, true},
			{"gone", events.TestResult{Status: "unreachable", Class: "refused", Gateway: "http://gone.test:80"}, 0, false},
			{"forbidden", events.TestResult{Status: "unreachable", Class: "refused_url", Gateway: "refused"}, 0, false},
			{"unknown", events.TestResult{Status: "not_registered"}, 0, false},
		} {
			began, before := time.Now(), len(h.Gateway.Tried())
			key, _, _ := strings.Cut(tt.name, " ")
			got := h.test("@bob:x", key)
			if in := time.Until(got.RetryAt); retryAt[tt.name] != (in > 55*time.Second && in < 65*time.Second) {
				t.Errorf("%s: the next poke may go in %s", tt.name, in)
			}
			got.RetryAt, got.TookMS = time.Time{}, 0
			if took := time.Since(began); got != tt.want || took.Round(time.Second) != tt.took {
				t.Errorf("%s after %s: %+v, want %+v", tt.name, took, got, tt.want)
			}
			if sent := len(h.Gateway.Tried()) - before; sent != map[bool]int{true: 1}[tt.sent] {
				t.Errorf("%s: %d requests", tt.name, sent)
			}
		}
		want := `{"notification":{"devices":[{"app_id":"app","pushkey":"ok","pushkey_ts":1,"data":{"brand":"x"},"tweaks":{"sound":"default"}}],"prio":"high","event_id":"$test"}}`
		if got := string(h.Gateway.Tried()[0].Body); got != want {
			t.Errorf("sent %s, want %s", got, want)
		}
		rejections := h.Server.Stored("REJECTED", "")
		if len(rejections) != 1 || !strings.Contains(string(rejections[0].Data), `"pushkey":"rejected"`) {
			t.Errorf("rejections that the registry hears of: %v", rejections)
		}
	})
}

// Test pushes that fail shut no gateway, and those that are taken open none. A gateway that is
// down gets none.
func TestG4TestPushesShutNoGateway(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Register("@bob:x", "gw.test", "bad", "good")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		h.Gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
			if p.Pushkey == "bad" && p.RoomID == "" {
				return eventstest.Reply{Status: http.StatusBadGateway}
			}
			return eventstest.Reply{}
		})
		for range 10 {
			if r := h.test("@bob:x", "bad"); r.Class != "http_5xx" {
				t.Fatalf("%+v", r)
			}
		}
		if g := h.Gateways(); len(g) != 1 || g[0].State != events.GatewayClosed || g[0].ErrorRate != 0 || g[0].LastError != "" {
			t.Errorf("after tests that failed: %+v", g)
		}
		h.Say("!r", "@alice:x", 0, 1)
		h.Arrived(2)
		h.GatewayDown()
		h.Say("!r", "@alice:x", 1, 3)
		<-time.After(time.Minute)
		tried := len(h.Gateway.Tried())
		r := h.test("@bob:x", "good")
		if r.Status != "unreachable" || r.Class != "gateway_down" || !r.RetryAt.After(time.Now()) {
			t.Errorf("while the gateway is down: %+v", r)
		}
		if got := len(h.Gateway.Tried()); got != tried {
			t.Errorf("a gateway that is down got %d requests of tests", got-tried)
		}
	})
}

// A test push changes nothing of what is delivered to its pusher: neither the order, nor the
// unread count, nor what waits; and it does not wait behind that.
func TestG3TestPushBesideALane(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Register("@bob:x", "gw.test", "bob")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		h.Gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
			if p.RoomID == "" {
				return eventstest.Reply{}
			}
			return eventstest.Reply{Status: http.StatusNotFound} // the lane lags, the gateway is not down
		})
		h.Say("!r", "@alice:x", 0, 3)
		<-time.After(5 * time.Second)
		before := h.OnePusher("@bob:x")
		if r := h.test("@bob:x", "bob"); r.Status != "ok" {
			t.Errorf("%+v", r)
		}
		if after := h.OnePusher("@bob:x"); after != before || after.Waiting != 3 {
			t.Errorf("the test changed its pusher: %+v, before %+v", after, before)
		}
		h.GatewayUp()
		h.CaughtUp()
		unread := ""
		for _, p := range h.Gateway.Pokes() {
			unread += fmt.Sprint(p.Unread, " ")
		}
		if got := h.Delivered("bob"); got != "test r-0 r-1 r-2" || unread != "0 1 2 3 " {
			t.Errorf("delivered %q, unread %q", got, unread)
		}
	})
}

// Test pushes keep to the limit of a gateway. Those that hang hold up no other poke.
func TestG4TestPushesKeepToTheLimit(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Config.GatewaySlots, h.Config.GatewayFloor = 3, 3
		users := h.RegisterMany(12, "gw.test", "bob")
		h.Register("@eve:x", "gw.test", "eve")
		h.Start()
		h.Room("!r", append([]events.UserID{"@alice:x"}, users...)...)
		h.Gateway.Answer(dispatchertest.Always(eventstest.Reply{After: 500 * time.Millisecond}))
		h.Say("!r", "@alice:x", 0, 2)
		results := make(chan events.TestResult, 6)
		for range cap(results) {
			go func() { results <- h.test("@eve:x", "eve") }()
		}
		for range cap(results) {
			if r := <-results; r.Status != "ok" {
				t.Errorf("%+v", r)
			}
		}
		h.Arrived(2*len(users) + cap(results))
		if most := h.Gateway.MostAtOnce("gw.test"); most > 3 {
			t.Errorf("%d requests at once", most)
		}
	})
}

// Test pushes that hang take places of the limit only for a moment, and do not shut the gateway.
func TestG4TestPushesThatHang(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Config.GatewayFloor = 2
		h.Register("@bob:x", "gw.test", "bob")
		h.Register("@eve:x", "gw.test", "eve")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		h.Gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
			if p.Pushkey == "eve" {
				return eventstest.Reply{After: time.Hour}
			}
			return eventstest.Reply{}
		})
		results := make(chan events.TestResult, 3)
		for range cap(results) {
			go func() { results <- h.test("@eve:x", "eve") }()
		}
		<-time.After(2 * time.Second)
		h.Say("!r", "@alice:x", 0, 1)
		<-time.After(2 * time.Second)
		if got := h.Delivered("bob"); got != "r-0" {
			t.Errorf("beside tests that hang %q was delivered", got)
		}
		for range cap(results) {
			if r := <-results; r.Status != "unreachable" || r.Class != "slow" {
				t.Errorf("%+v", r)
			}
		}
		if tried := len(h.Gateway.Tried()); tried != 3 {
			t.Errorf("%d requests, want one poke and two tests", tried)
		}
		if g := h.Gateways(); len(g) != 1 || g[0].State != events.GatewayClosed {
			t.Errorf("after tests that hang: %+v", g)
		}
	})
}

// While no dispatcher owns the partition, a test push is asked for again; one whose dispatcher
// dies with it is not, since it may have been sent.
func TestTestPushDuringATakeOver(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Alone = true // the next dispatcher waits for no lease
		h.Register("@bob:x", "gw.test", "bob")
		began := time.Now()
		var starts sync.WaitGroup
		starts.Go(func() { <-time.After(time.Second); h.Start() })
		if r := h.test("@bob:x", "bob"); r.Status != "ok" {
			t.Errorf("after %s: %+v", time.Since(began), r)
		}
		starts.Wait()
		h.Gateway.Answer(dispatchertest.Always(eventstest.Reply{After: time.Minute}))
		starts.Go(func() { <-time.After(time.Second); h.Kill(); h.Start() })
		began = time.Now()
		r, err := owner.NewClient(h.Conn).TestPusher(t.Context(), events.TestPush{UserID: "@bob:x", Pusher: events.NewPusherID("@bob:x", "app", "bob"), EventID: "$test"})
		if took := time.Since(began); err == nil || took > 9*time.Second {
			t.Errorf("after %s: %+v, %v", took, r, err)
		}
		starts.Wait()
		if tried := len(h.Gateway.Tried()); tried != 2 {
			t.Errorf("%d requests", tried)
		}
	})
}
