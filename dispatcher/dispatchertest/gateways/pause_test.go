package gateways_test

import (
	"encoding/json"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"poked/dispatcher/deliver"
	"poked/dispatcher/dispatchertest"
	"poked/events"
	"poked/events/eventstest"
	"poked/events/natstest"
)

// All dispatchers honour the pause that a gateway asked one of them for, also one that
// starts later.
func TestG6AllDispatchersHonourAPause(t *testing.T) {
	eventstest.Long(t)
	bubbleOf(t, dispatchertest.ManyParts, func(t *testing.T, h *harness) {
		users := h.Audience(40)
		h.Start()
		first := h.Instance
		h.Begin()
		second := h.Instance
		h.Shared(5*time.Second, first, second)
		h.Room("!r", append(users[:1:1], users...)...)
		<-time.After(time.Second)
		var asked atomic.Int64
		h.Gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
			if !asked.CompareAndSwap(0, p.At.UnixNano()) {
				return eventstest.Reply{}
			}
			return eventstest.Reply{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"120"}}}
		})
		// One poke of one dispatcher gets the refusal.
		h.Room("!one", "@alice:x", users[0])
		h.Say("!one", "@alice:x", 0, 1)
		<-time.After(time.Second)
		next := h.SayEvery(0, 3, time.Second)
		h.Begin()
		h.Shared(10*time.Second, first, second, h.Instance)
		h.SayEvery(next, 3, time.Second)
		<-time.After(3 * time.Minute)
		h.CaughtUp()
		until := time.Unix(0, asked.Load()).Add(2 * time.Minute)
		tried := h.Gateway.Tried()
		for _, p := range tried[1:] {
			if p.At.Before(until) {
				t.Errorf("%s got a poke %v before the pause was over", p.Pushkey, until.Sub(p.At))
			}
		}
		if len(tried) < 40 {
			t.Errorf("%d pokes were tried", len(tried))
		}
		if n := len(h.Server.Stored("KV_GATEWAYS", "$KV.GATEWAYS.")); n != 1 {
			t.Errorf("the pause is stored %d times, want once", n)
		}
	})
}

// A pause that could not be shared is shared later. If the dispatcher is killed before, each
// of the others learns of it from the gateway.
func TestPauseThatCannotBeShared(t *testing.T) {
	for name, fault := range natstest.Faults() {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *harness) {
				h.Register("@bob:x", "gw.test", "bob")
				h.Start()
				h.Room("!r", "@alice:x", "@bob:x")
				h.Gateway.Answer(dispatchertest.Always(eventstest.Reply{Status: http.StatusServiceUnavailable, Header: http.Header{"Retry-After": {"60"}}}))
				met := h.Link.Break("$KV.GATEWAYS.", fault)
				h.Say("!r", "@alice:x", 0, 1)
				<-time.After(20 * time.Second)
				if fault != natstest.Kill {
					h.pauseIsShared(time.Minute)
				}
				h.GatewayUp()
				h.Revive()
				<-time.After(2 * time.Minute)
				if !met() {
					t.Error("the fault never happened")
				}
				if got := h.Delivered("bob"); got != "r-0" {
					t.Errorf("bob got %q", got)
				}
			})
		})
	}
}

// pauseIsShared checks the end of the pause that is stored for the gateway: as long after the
// first refusal.
func (h *harness) pauseIsShared(long time.Duration) {
	h.T.Helper()
	want := h.Gateway.Tried()[0].At.Add(long)
	shared := h.Server.Stored("KV_GATEWAYS", "$KV.GATEWAYS.")
	if len(shared) != 1 {
		h.T.Errorf("%d pauses are stored, want 1", len(shared))
		return
	}
	var p events.Pause
	if err := json.Unmarshal(shared[0].Data, &p); err != nil || p.Until.Before(want) || p.Until.After(want.Add(3*time.Second)) {
		h.T.Errorf("the stored pause is %s, want until %v", shared[0].Data, want)
	}
}

// A dispatcher that was asked for a longer pause than the one stored last stores it again.
func TestG6ShorterPauseHidesNoLongerOne(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Register("@bob:x", "gw.test", "bob")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		h.Gateway.Answer(dispatchertest.Always(eventstest.Reply{Status: http.StatusServiceUnavailable, Header: http.Header{"Retry-After": {"600"}}}))
		h.Say("!r", "@alice:x", 0, 1)
		<-time.After(time.Second)
		for _, shorter := range []time.Duration{time.Minute, -time.Minute} { // of another dispatcher
			h.Conn.PutPause(events.Pause{Origin: h.Gateways()[0].Origin, Until: time.Now().Add(shorter)}, func(error) {})
			<-time.After(2 * deliver.ShareAgain)
			h.pauseIsShared(10 * time.Minute)
		}
	})
}
