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

// What a gateway asks of one dispatcher all obey: those that are there, and one
// that comes.
func TestG6AllDispatchersLeaveAGatewayAlone(t *testing.T) {
	bubbleOf(t, manyParts, func(t *testing.T, h *house) {
		users := h.audience(40)
		h.start()
		first := h.life
		h.begin()
		second := h.life
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
		// One poke, of one dispatcher, meets the refusal.
		h.room("!one", "@alice:x", users[0])
		h.say("!one", "@alice:x", 0, 1)
		<-time.After(time.Second)
		next := h.talk(0, 3, time.Second)
		h.begin()
		h.shared(10*time.Second, first, second, h.life)
		h.talk(next, 3, time.Second)
		<-time.After(3 * time.Minute)
		h.calm()
		until := time.Unix(0, asked.Load()).Add(2 * time.Minute)
		tried := h.gateway.Tried()
		for _, p := range tried[1:] {
			if p.At.Before(until) {
				t.Errorf("%s was told %v before the pause was over", p.Pushkey, until.Sub(p.At))
			}
		}
		if len(tried) < 40 {
			t.Errorf("%d pokes were tried", len(tried))
		}
		if n := len(h.server.Stored("KV_GATEWAYS", "$KV.GATEWAYS.")); n != 1 {
			t.Errorf("the pause was told %d times, want once", n)
		}
	})
}

// What the others could not be told at first they are told later; if this one dies
// before, each of them finds out by itself.
func TestPauseThatIsNotShared(t *testing.T) {
	for name, fault := range eventstest.Faults() {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *house) {
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
					t.Error("the fault was never met")
				}
				if got := delivered(h.gateway.Pokes(), "bob"); got != "r-0" {
					t.Errorf("bob was told %q", got)
				}
			})
		})
	}
}

// pauseIsShared checks until when it stands written that the one gateway which was
// tried is to be left alone: for as long after the first refusal.
func (h *house) pauseIsShared(long time.Duration) {
	h.t.Helper()
	want := h.gateway.Tried()[0].At.Add(long)
	shared := h.server.Stored("KV_GATEWAYS", "$KV.GATEWAYS.")
	if len(shared) != 1 {
		h.t.Errorf("%d pauses stand written, want 1", len(shared))
		return
	}
	var p events.Pause
	if err := json.Unmarshal(shared[0].Data, &p); err != nil || p.Until.Before(want) || p.Until.After(want.Add(3*time.Second)) {
		h.t.Errorf("the pause stands written as %s, want until %v", shared[0].Data, want)
	}
}

// Who was asked for a longer pause than stands written last says so again.
func TestG6ShorterPauseHidesNoLongerOne(t *testing.T) {
	bubble(t, func(t *testing.T, h *house) {
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
