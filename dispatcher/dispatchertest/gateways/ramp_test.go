package gateways_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"poked/dispatcher/deliver"
	"poked/dispatcher/dispatchertest"
	"poked/events"
	"poked/events/eventstest"
)

// A thousand pushers lag at a gateway that was down for long. It gets one probe at a time,
// and once it is back, few pokes at first and never more than its limit.
func TestG5ThousandLaggingPushersResumeSlowly(t *testing.T) {
	eventstest.Long(t)
	bubble(t, func(t *testing.T, h *harness) {
		h.SpanHours()
		const n, answer = 1000, 20 * time.Millisecond
		users := append([]events.UserID{"@alice:x"}, h.RegisterMany(n, "gw.test", "u")...)
		h.Gateway.Answer(dispatchertest.Always(eventstest.Reply{After: answer}))
		h.Start()
		h.Room("!r", users...)
		h.Say("!r", "@alice:x", 0, 1)
		before := len(h.Arrived(n)) // the gateway is at its limit by now
		h.GatewayDown()
		h.Say("!r", "@alice:x", 1, 2)
		const outage = 10 * time.Minute
		<-time.After(outage)
		tries := len(h.Gateway.Tried())
		if t.Logf("%d tries while it was down", tries-before); tries-before > int(outage/(deliver.ProbeLimit/2))+30 {
			t.Errorf("%d tries in %v, with one probe at a time", tries-before, outage)
		}
		h.Gateway.Answer(dispatchertest.Always(eventstest.Reply{After: answer}))
		back := time.Now()
		eventstest.WaitFor(t, "the first poke", func() bool { return len(h.Gateway.Tried()) > tries })
		if late := time.Since(back); late > 30*time.Second {
			t.Errorf("the first poke arrived %v after the gateway was back", late)
		}
		h.Arrived(3 * n)
		pokes := h.Gateway.Tried()[tries:]
		if took := time.Since(pokes[0].At); took > 5*time.Second {
			t.Errorf("caught up within %v", took)
		}
		most := []int{1, h.Config.GatewayFloor, 2 * h.Config.GatewayFloor, 4 * h.Config.GatewayFloor} // of each round trip
		for trip := range most {
			began := 0
			for _, p := range pokes {
				if at := p.At.Sub(pokes[0].At); at >= time.Duration(trip)*answer && at < time.Duration(trip+1)*answer {
					began++
				}
			}
			if began > most[trip] {
				t.Errorf("%d pokes in round trip %d, want %d at most", began, trip, most[trip])
			}
		}
		if most := h.Gateway.MostAtOnce("gw.test"); most != h.Config.GatewaySlots {
			t.Errorf("the gateway got %d pokes at once, its limit is %d", most, h.Config.GatewaySlots)
		}
		h.Check(users[1], 0, "u0")
		h.Check(users[n], 0, "u999")
	})
}

// A gateway that answers 429 when it is overloaded gets fewer pokes at a time, and still
// gets all of them.
func TestG5LimitFollowsTheCapacityOfTheGateway(t *testing.T) {
	eventstest.Long(t)
	bubble(t, func(t *testing.T, h *harness) {
		const capacity, answer = 6, 100 * time.Millisecond
		users := append([]events.UserID{"@alice:x"}, h.RegisterMany(200, "gw.test", "u")...)
		var begun []time.Time // of pokes that were accepted
		refused := 0
		h.Gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
			if len(begun) >= capacity && p.At.Sub(begun[len(begun)-capacity]) < answer {
				refused++
				return eventstest.Reply{Status: http.StatusTooManyRequests}
			}
			begun = append(begun, p.At)
			return eventstest.Reply{After: answer}
		})
		h.Start()
		h.Room("!r", users...)
		h.Say("!r", "@alice:x", 0, 5)
		h.CaughtUp()
		h.Arrived(1000)
		if t.Logf("%d refused", refused); refused > 400 {
			t.Errorf("%d of 1000 pokes were refused", refused)
		}
	})
}

// A gateway that is up and down in turns gets a bounded number of failing requests.
func TestG5FlappingGatewayCostsLittle(t *testing.T) {
	eventstest.Long(t)
	bubble(t, func(t *testing.T, h *harness) {
		h.SpanHours()
		users := append([]events.UserID{"@alice:x"}, h.RegisterMany(20, "gw.test", "u")...)
		began := time.Now()
		h.Gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
			if int(p.At.Sub(began).Seconds())%20 < 15 {
				return eventstest.Reply{Status: http.StatusBadGateway, After: time.Millisecond}
			}
			return eventstest.Reply{After: time.Millisecond}
		})
		h.Start()
		h.Room("!r", users...)
		for i := range 120 {
			h.Say("!r", "@alice:x", i, 1)
			<-time.After(10 * time.Second)
		}
		failed := len(h.Gateway.Tried()) - len(h.Gateway.Pokes())
		if t.Logf("%d failed, %d arrived", failed, len(h.Gateway.Pokes())); failed > 600 {
			t.Errorf("%d tries failed in 20 minutes", failed)
		}
		h.GatewayUp()
		h.CaughtUp()
		h.Check(users[1], 0, "u0")
	})
}

// The pusher that probes its gateway is removed, or moves to another gateway: the gateway is
// still probed, and the moved pusher receives its pokes at the new one.
func TestG5ProbeWhosePusherIsRemoved(t *testing.T) {
	eventstest.Long(t)
	bubble(t, func(t *testing.T, h *harness) {
		h.SpanHours()
		users := append([]events.UserID{"@alice:x"}, h.RegisterMany(5, "gw.test", "u")...)
		h.Gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
			if p.Host == "gw.test" {
				return eventstest.Reply{Status: http.StatusBadGateway}
			}
			return eventstest.Reply{}
		})
		h.Start()
		h.Room("!r", users...)
		h.Say("!r", "@alice:x", 0, 2)
		<-time.After(10 * time.Minute)
		moved := time.Now()
		h.Register(users[1], "slow.test", "u0")
		for _, u := range users[2:5] {
			h.Register(u, "gw.test")
		}
		if got := h.Delivered("u0"); got != "r-0 r-1" {
			t.Errorf("the moved pusher got %q within %v", got, time.Since(moved))
		}
		h.GatewayUp()
		back := time.Now()
		eventstest.WaitFor(t, "the pusher that is left", func() bool { return h.Delivered("u4") == "r-0 r-1" })
		if late := time.Since(back); late > 30*time.Second {
			t.Errorf("delivered %v after the gateway was back", late)
		}
	})
}

// Pokes to a gateway that stays down expire, also those of pushers that never probe it.
func TestG1PokesExpireWhileTheGatewayIsDown(t *testing.T) {
	eventstest.Long(t)
	bubble(t, func(t *testing.T, h *harness) {
		h.SpanHours()
		h.Config.PokeTTL = time.Hour
		old := append([]events.UserID{"@alice:x"}, h.RegisterMany(20, "gw.test", "old")...)
		young := append([]events.UserID{"@alice:x"}, h.RegisterMany(100, "gw.test", "young")...)
		h.GatewayDown()
		h.Start()
		h.Room("!old", old...)
		h.Room("!young", young...)
		h.Say("!old", "@alice:x", 0, 2)
		<-time.After(h.Config.PokeTTL - deliver.ExpiryLook)
		h.Say("!young", "@alice:x", 0, 1)
		<-time.After(2*deliver.ExpiryLook + time.Minute)
		if n := len(h.Dead()); n != 40 {
			t.Errorf("%d dead letters, want 40", n)
		}
		if n := h.Backlog(); n != 100 {
			t.Errorf("%d pushers lag, want the 100 with a poke that has not expired", n)
		}
	})
}

func TestGatewayStates(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Register("@bob:x", "gw.test", "bob", "other")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		want := func(state events.GatewayPhase, lagging int, lastError string) {
			t.Helper()
			<-time.After(time.Until(time.Now().Truncate(deliver.SlotLength).Add(5*time.Second + deliver.SlotLength/2))) // not at the moment of a probe
			states := h.Gateways()
			if len(states) != 1 {
				t.Fatalf("%d gateways, want 1", len(states))
			}
			s := states[0]
			if !strings.HasPrefix(s.Origin, "http://gw.test") || s.State != state || s.Lagging != lagging || s.LastError != lastError ||
				(s.State == "open") == s.NextProbe.IsZero() || (s.State == "paused") == s.PausedUntil.IsZero() ||
				(s.ErrorRate > 0) != (lastError != "") || s.LatencyMS <= 0 || s.Limit < h.Config.GatewayFloor {
				t.Errorf("%+v, want %s with %d lagging and the error %q", s, state, lagging, lastError)
			}
		}
		h.Gateway.Answer(dispatchertest.Always(eventstest.Reply{After: 10 * time.Millisecond}))
		h.Say("!r", "@alice:x", 0, 1)
		want("closed", 0, "")
		h.Gateway.Answer(dispatchertest.Always(eventstest.Reply{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"60"}}}))
		h.Say("!r", "@alice:x", 1, 1)
		want("paused", 2, "http_429")
		h.GatewayDown()
		<-time.After(3 * time.Minute)
		want("open", 2, "http_502")
		h.Register("@bob:x", "gw.test", "bob")
		<-time.After(time.Second)
		want("open", 1, "http_502")
		if s := h.Gateways()[0]; s.Waiting != 1 {
			t.Errorf("%+v, want only the pusher that is left in the queue", s)
		}
		h.Gateway.Answer(dispatchertest.Always(eventstest.Reply{After: time.Minute}))
		<-time.After(deliver.ProbeLimit + time.Second)
		if s := h.Gateways()[0]; s.InFlight == 0 {
			t.Errorf("%+v, want a probe in flight", s)
		}
	})
}
