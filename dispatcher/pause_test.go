package dispatcher

import (
	"encoding/json"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"poked/dispatcher/deliver"
	"poked/events"
	"poked/events/eventstest"
)

// All dispatchers honour the pause that a gateway asked one of them for, also one that
// starts later.
func TestG6AllDispatchersHonourAPause(t *testing.T) {
	bubbleOf(t, manyParts, func(t *testing.T, h *harness) {
		users := h.audience(40)
		h.start()
		first := h.instance
		h.begin()
		second := h.instance
		h.shared(5*time.Second, first, second)
		h.room("!r", append(users[:1:1], users...)...)
		<-time.After(time.Second)
		var asked atomic.Int64
		h.gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
			if !asked.CompareAndSwap(0, p.At.UnixNano()) {
				return eventstest.Reply{}
			}
			return eventstest.Reply{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"120"}}}
		})
		// One poke of one dispatcher gets the refusal.
		h.room("!one", "@alice:x", users[0])
		h.say("!one", "@alice:x", 0, 1)
		<-time.After(time.Second)
		next := h.sayEvery(0, 3, time.Second)
		h.begin()
		h.shared(10*time.Second, first, second, h.instance)
		h.sayEvery(next, 3, time.Second)
		<-time.After(3 * time.Minute)
		h.caughtUp()
		until := time.Unix(0, asked.Load()).Add(2 * time.Minute)
		tried := h.gateway.Tried()
		for _, p := range tried[1:] {
			if p.At.Before(until) {
				t.Errorf("%s got a poke %v before the pause was over", p.Pushkey, until.Sub(p.At))
			}
		}
		if len(tried) < 40 {
			t.Errorf("%d pokes were tried", len(tried))
		}
		if n := len(h.server.Stored("KV_GATEWAYS", "$KV.GATEWAYS.")); n != 1 {
			t.Errorf("the pause is stored %d times, want once", n)
		}
	})
}

// A pause that could not be shared is shared later. If the dispatcher is killed before, each
// of the others learns of it from the gateway.
func TestPauseThatCannotBeShared(t *testing.T) {
	for name, fault := range eventstest.Faults() {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *harness) {
				h.register("@bob:x", "gw.test", "bob")
				h.start()
				h.room("!r", "@alice:x", "@bob:x")
				h.gateway.Answer(always(eventstest.Reply{Status: http.StatusServiceUnavailable, Header: http.Header{"Retry-After": {"60"}}}))
				met := h.link.Break("$KV.GATEWAYS.", fault)
				h.say("!r", "@alice:x", 0, 1)
				<-time.After(20 * time.Second)
				if fault != eventstest.Kill {
					h.pauseIsShared(time.Minute)
				}
				h.gateway.Answer(up())
				h.revive()
				<-time.After(2 * time.Minute)
				if !met() {
					t.Error("the fault never happened")
				}
				if got := delivered(h.gateway.Pokes(), "bob"); got != "r-0" {
					t.Errorf("bob got %q", got)
				}
			})
		})
	}
}

// pauseIsShared checks the end of the pause that is stored for the gateway: as long after the
// first refusal.
func (h *harness) pauseIsShared(long time.Duration) {
	h.t.Helper()
	want := h.gateway.Tried()[0].At.Add(long)
	shared := h.server.Stored("KV_GATEWAYS", "$KV.GATEWAYS.")
	if len(shared) != 1 {
		h.t.Errorf("%d pauses are stored, want 1", len(shared))
		return
	}
	var p events.Pause
	if err := json.Unmarshal(shared[0].Data, &p); err != nil || p.Until.Before(want) || p.Until.After(want.Add(3*time.Second)) {
		h.t.Errorf("the stored pause is %s, want until %v", shared[0].Data, want)
	}
}

// A dispatcher that was asked for a longer pause than the one stored last stores it again.
func TestG6ShorterPauseHidesNoLongerOne(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.register("@bob:x", "gw.test", "bob")
		h.start()
		h.room("!r", "@alice:x", "@bob:x")
		h.gateway.Answer(always(eventstest.Reply{Status: http.StatusServiceUnavailable, Header: http.Header{"Retry-After": {"600"}}}))
		h.say("!r", "@alice:x", 0, 1)
		<-time.After(time.Second)
		for _, shorter := range []time.Duration{time.Minute, -time.Minute} { // of another dispatcher
			origin := h.d.current.Load().gates.States()[0].Origin
			h.conn.PutPause(events.Pause{Origin: origin, Until: time.Now().Add(shorter)}, func(error) {})
			<-time.After(2 * deliver.ShareAgain)
			h.pauseIsShared(10 * time.Minute)
		}
	})
}
