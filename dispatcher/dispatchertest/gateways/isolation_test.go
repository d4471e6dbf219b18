package gateways_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"poked/dispatcher/dispatchertest"
	"poked/events"
	"poked/events/eventstest"
)

// A host that takes a minute for each answer has more pushers than slots. Pokes to another
// host take no time at all.
func TestG4SlowGatewayDelaysOnlyItself(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		users := []events.UserID{"@alice:x"}
		for i := range 40 {
			user := events.UserID(fmt.Sprintf("@slow%d:x", i))
			users = append(users, user)
			h.Register(user, "slow.test", fmt.Sprintf("slow%d", i))
		}
		for i := range 10 {
			user := events.UserID(fmt.Sprintf("@fast%d:x", i))
			users = append(users, user)
			h.Register(user, "gw.test", fmt.Sprintf("fast%d", i))
		}
		h.Gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
			if p.Host == "slow.test" {
				return eventstest.Reply{After: time.Minute}
			}
			return eventstest.Reply{}
		})
		h.Start()
		h.Room("!r", users...)
		said := map[string]time.Time{}
		for i := range 30 {
			said[fmt.Sprintf("$r-%d", i)] = time.Now()
			h.Say("!r", "@alice:x", i, 1)
			<-time.After(time.Second)
		}
		fast := 0
		for _, p := range h.Gateway.Pokes() {
			if p.Host != "gw.test" {
				continue
			}
			fast++
			if late := p.At.Sub(said[string(p.EventID)]); late > 10*time.Millisecond {
				t.Errorf("%s got %s after %v", p.Pushkey, p.EventID, late)
			}
		}
		if fast != 300 {
			t.Errorf("%d pokes at the gateway that works, want 300", fast)
		}
		if most := h.Gateway.MostAtOnce("slow.test"); most > h.Config.GatewaySlots {
			t.Errorf("the slow gateway had %d pokes in flight, its limit is %d", most, h.Config.GatewaySlots)
		}
	})
}

// One pusher that hangs does not fill the window of its partition, however many
// notifications it has.
func TestG4HangingPusherDoesNotHoldUpItsPartition(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		slow, fast := dispatchertest.SamePartition(h.Conn.Topology().Partitions)
		h.Register(slow, "slow.test", "slow-1", "slow-2")
		h.Register(fast, "gw.test", "fast")
		h.Gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
			if p.Host == "slow.test" {
				return eventstest.Reply{After: time.Minute}
			}
			return eventstest.Reply{}
		})
		h.Start()
		h.Room("!r", "@alice:x", slow, fast)
		for i := range 12 {
			h.Say("!r", "@alice:x", 100*i, 100)
			<-time.After(2 * time.Second)
			if n := strings.Count(h.Delivered("fast"), "r-"); n != 100*(i+1) {
				t.Fatalf("%d of %d pokes have arrived at the gateway that works", n, 100*(i+1))
			}
		}
	})
}

// The first success at a gateway that was down wakes all pushers that lag there, long before
// their own next try.
func TestG5RecoveryWakesAllLaggingPushers(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.SpanHours()
		users := []events.UserID{"@alice:x"}
		for i := range 30 {
			user := events.UserID(fmt.Sprintf("@u%d:x", i))
			users = append(users, user)
			h.Register(user, "gw.test", fmt.Sprintf("u%d", i))
		}
		h.GatewayDown()
		h.Start()
		h.Room("!r", users...)
		h.Say("!r", "@alice:x", 0, 3)
		<-time.After(6 * time.Minute)
		h.GatewayUp()
		h.CaughtUp()
		pokes := h.Gateway.Pokes()
		if took := pokes[len(pokes)-1].At.Sub(pokes[0].At); len(pokes) != 90 || took > time.Second {
			t.Errorf("%d pokes within %v, want 90 within a second", len(pokes), took)
		}
		if most := h.Gateway.MostAtOnce("gw.test"); most > h.Config.GatewaySlots {
			t.Errorf("the gateway got %d pokes at once, its limit is %d", most, h.Config.GatewaySlots)
		}
	})
}

func TestG6RetryAfterPausesTheWholeGateway(t *testing.T) {
	for _, ask := range []struct {
		name       string
		status     int
		retryAfter func(now time.Time) string
	}{
		{"429 with seconds", http.StatusTooManyRequests, func(time.Time) string { return "120" }},
		{"503 with a date", http.StatusServiceUnavailable, func(now time.Time) string {
			return now.Add(2 * time.Minute).UTC().Format(http.TimeFormat)
		}},
	} {
		t.Run(ask.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *harness) {
				h.Register("@bob:x", "gw.test", "bob-1", "bob-2")
				h.Register("@eve:x", "gw.test", "eve")
				h.Register("@dan:x", "slow.test", "dan")
				h.Start()
				h.Room("!r", "@alice:x", "@bob:x", "@eve:x", "@dan:x")
				asked := false
				h.Gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
					if p.Pushkey != "bob-1" || asked {
						return eventstest.Reply{}
					}
					asked = true
					return eventstest.Reply{Status: ask.status, Header: http.Header{"Retry-After": {ask.retryAfter(p.At)}}}
				})
				h.Say("!r", "@alice:x", 0, 1)
				<-time.After(time.Second)
				for i := range 5 {
					h.Say("!r", "@alice:x", 1+i, 1)
					<-time.After(10 * time.Second)
				}
				h.CaughtUp()
				checkPause(t, h, 2*time.Minute)
			})
		})
	}
}

func checkPause(t *testing.T, h *harness, pause time.Duration) {
	t.Helper()
	tried := h.Gateway.Tried()
	asked := tried[slices.IndexFunc(tried, func(p eventstest.Poke) bool { return p.Status >= 400 })].At
	other := 0
	for _, p := range tried {
		since := p.At.Sub(asked)
		switch {
		case p.Host == "slow.test" && since < pause:
			other++
		case p.Host == "gw.test" && since > 0 && since < pause:
			t.Errorf("%s got %s %v after the gateway asked for %v", p.Pushkey, p.EventID, since, pause)
		}
	}
	if other != 6 {
		t.Errorf("the other gateway got %d pokes meanwhile, want 6", other)
	}
	h.Check("@bob:x", 0, "bob-1", "bob-2")
	h.Check("@eve:x", 0, "eve")
}

// However many pokes fail, a lagging pusher keeps only its position in memory.
func TestG7LaggingPusherKeepsNothing(t *testing.T) {
	eventstest.Long(t)
	bubble(t, func(t *testing.T, h *harness) {
		h.Register("@bob:x", "gw.test", "bob-1", "bob-2")
		h.GatewayDown()
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		for i := range 20 {
			h.Say("!r", "@alice:x", 100*i, 100)
			<-time.After(10 * time.Second)
			all := h.Dispatcher.Holds()
			if len(all) != h.Conn.Topology().Partitions {
				t.Fatalf("%d partitions are owned", len(all))
			}
			for _, held := range all {
				if held.Open+held.Live+held.Queued+held.Held > 0 {
					t.Errorf("%+v, but every pusher lags", held)
				}
			}
		}
		if n := len(h.LogOf("@bob:x")); n != 2000 {
			t.Errorf("bob has %d notifications, want 2000", n)
		}
	})
}
