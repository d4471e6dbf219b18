package dispatcher

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

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
				if got := told(h.gateway.Pokes(), "bob"); got != "r-0" {
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
			origin := h.d.current.Load().gates.states()[0].Origin
			h.conn.PutPause(events.Pause{Origin: origin, Until: time.Now().Add(shorter)}, func(error) {})
			<-time.After(2 * tellAgain)
			h.pauseIsShared(10 * time.Minute)
		}
	})
}

// A pause that is heard of while it lasts, or grows, leaves the ramp after it as
// steep as it was.
func TestPauseThatGrowsIsOnePause(t *testing.T) {
	gs := newGateways(100, 8, 100, nil, func(func()) {})
	now := time.Now()
	g := gs.at("https://gw.test", now)
	g.limit.value = 64
	gs.pause(g, now.Add(time.Minute), now)
	gs.tell(g, now)
	for _, p := range gs.takeUntold(now) {
		gs.heard(p)
	}
	gs.pause(g, now.Add(2*time.Minute), now)
	if g.limit.threshold != 64 || g.limit.value != 8 {
		t.Errorf("after the pause the gateway gets %v places, and doubles them up to %v", g.limit.value, g.limit.threshold)
	}
}

// However many dispatchers were asked for pauses of about the same length, and in
// whatever order they hear of each other's, they say so a few times and agree on the
// longest.
func TestPausesOfManyDispatchersComeToAnEnd(t *testing.T) {
	const dispatchers = 16
	luck := rand.New(rand.NewPCG(1, 1))
	now := time.Now()
	var all [dispatchers]*gateways
	var heard [dispatchers]int // of what was written
	var written []events.Pause
	longest := now.Add(time.Minute + time.Duration(dispatchers)*100*time.Millisecond)
	for i := range all {
		all[i] = newGateways(100, 8, 100, nil, func(func()) {})
		g := all[i].at("https://gw.test", now)
		all[i].pause(g, longest.Add(-time.Duration(i)*100*time.Millisecond), now)
		all[i].tell(g, now)
	}
	idle := 0
	for ; idle < 100*dispatchers && len(written) < 1000; idle++ {
		i := luck.IntN(dispatchers)
		if heard[i] < len(written) && luck.IntN(3) > 0 {
			all[i].heard(written[heard[i]])
			heard[i]++
			idle = 0
			continue
		}
		if pauses := all[i].takeUntold(now); len(pauses) > 0 {
			written = append(written, pauses...)
			idle = 0
		}
	}
	if len(written) > 10*dispatchers {
		t.Errorf("%d pauses were written", len(written))
	}
	if last := written[len(written)-1].Until; last.Before(longest) || last.After(longest.Add(time.Second)) {
		t.Errorf("the last says %v, want the longest, %v", last, longest)
	}
}

// A dispatcher that stands by forgets the pauses it hears of when they are over.
func TestG7StandbyForgetsPauses(t *testing.T) {
	bubbleOf(t, 1, func(t *testing.T, h *house) {
		h.start()
		work := h.d.current.Load()
		h.start()
		<-time.After(10 * time.Second)
		if len(work.deliverers()) > 0 { // who is left without a partition is the other one
			work = h.d.current.Load()
		}
		for n := range 1000 {
			h.conn.PutPause(events.Pause{Origin: fmt.Sprintf("https://gw-%d.test", n), Until: time.Now().Add(time.Minute)}, func(error) {})
		}
		<-time.After(10 * time.Second)
		if n := len(work.gates.states()); n != 1000 {
			t.Errorf("the dispatcher knows %d gateways", n)
		}
		<-time.After(3 * forgetAfter)
		work.gates.mu.Lock()
		defer work.gates.mu.Unlock()
		if gates, pages := len(work.gates.byOrigin), len(work.gates.calendar.pages); gates+pages > 0 {
			t.Errorf("long after the pauses %d gateways and %d pages of the calendar are left", gates, pages)
		}
	})
}
