package deliver

import (
	"testing"
	"testing/synctest"
	"time"

	"poked/dispatcher/poke"
)

func TestLimitDoublesThenGrowsSlowly(t *testing.T) {
	m := poke.NewLimit(4, 100)
	trips := func() (n int) {
		for places := m.Places(); m.Places() < 100; n++ {
			for range places {
				m.Grow()
			}
			places = m.Places()
		}
		return n
	}
	if n := trips(); n > 5 {
		t.Errorf("a healthy gateway got all its places after %d round trips", n)
	}
	for range 1000 {
		m.Grow()
	}
	if m.Places() != 100 {
		t.Errorf("%d places, the ceiling is 100", m.Places())
	}
	now := time.Now()
	m.Shrink(now, now)
	if m.Places() != 50 {
		t.Errorf("%d places after an overload, want half", m.Places())
	}
	m.Shrink(now.Add(-time.Second), now) // was out at the same time
	if m.Places() != 50 {
		t.Errorf("%d places after the same overload", m.Places())
	}
	if n := trips(); n < 40 || n > 60 {
		t.Errorf("the ceiling was reached again after %d round trips, want about 50", n)
	}
	for i := range 20 {
		at := now.Add(time.Duration(i) * time.Second)
		m.Shrink(at, at)
	}
	if m.Places() != 4 {
		t.Errorf("%d places, the floor is 4", m.Places())
	}
}

func TestFloorIsNotAboveTheCeiling(t *testing.T) {
	if m := poke.NewLimit(8, 2); m.Places() != 2 {
		t.Errorf("%d places, the ceiling is 2", m.Places())
	}
}

// fails reports n failed pokes, and returns whether the breaker is open then.
func fails(b *breaker, known bool, n int) bool {
	for range n {
		b.failed(known, time.Now())
	}
	return b.open
}

func TestBreakerOpensAndCloses(t *testing.T) {
	b := breaker{wellAt: time.Now()}
	if fails(&b, false, recoveryFailures-1) {
		t.Error("open too soon")
	}
	b.worked(time.Now())
	if fails(&b, false, recoveryFailures-1) {
		t.Error("failures before a success count")
	}
	if !fails(&b, false, 1) {
		t.Error("still closed")
	}
	if b.probeDue(time.Now()) || !b.probeDue(time.Now().Add(probeFirst)) {
		t.Error("the first probe is due within a second, not at once")
	}
	if !b.worked(time.Now()) || b.open {
		t.Error("a success did not close it")
	}
	if b.worked(time.Now()) {
		t.Error("it was closed twice")
	}
}

// A lane that is known to fail by itself opens no breaker, and a lane that has not failed yet
// is sent as a probe at once.
func TestBreakerIgnoresLanesThatFailByThemselves(t *testing.T) {
	bad, other := &lane{}, &lane{}
	other.node.unfailed = true
	var b breaker
	if fresh := (breaker{}); !fails(&fresh, true, recoveryFailures) {
		t.Error("not opened by a lane that is known to fail, though the gateway has not worked since the start")
	}
	b.worked(time.Now())
	if fails(&b, true, 100) {
		t.Error("opened by a lane that is known to fail")
	}
	if b.worthAProbe(other) {
		t.Error("a probe is sent while it is closed")
	}
	fails(&b, false, recoveryFailures)
	for range recoveryFailures {
		if b.worthAProbe(bad) || !b.worthAProbe(other) {
			t.Error("only a lane that has not failed is worth a probe")
		}
		b.probeFailed(bad, time.Now())
		b.probeFailed(other, time.Now())
	}
	if b.worthAProbe(other) {
		t.Error("a lane is sent as a probe at once though several such probes have failed")
	}
}

func TestProbesBackOff(t *testing.T) {
	for _, tc := range []struct {
		ago   time.Duration // since the gateway worked
		limit time.Duration
	}{
		{time.Minute, 30 * time.Second},
		{probeFor - time.Minute, 30 * time.Second},
		{probeFor, 5 * time.Minute},
	} {
		now := time.Now()
		b := breaker{wellAt: now.Add(-tc.ago)}
		longest := time.Duration(0)
		for n := range 1000 {
			wait := b.wait(now)
			if b.putOff(now); n == 0 && wait > time.Second || wait < 500*time.Millisecond {
				t.Errorf("probe %d after %v", n, wait)
			}
			longest = max(longest, wait)
		}
		if longest > tc.limit || longest < tc.limit*8/10 {
			t.Errorf("worked %v ago: the longest wait is %v, the limit %v", tc.ago, longest, tc.limit)
		}
	}
}

// An unstable gateway is not probed more and more often.
func TestFlappingGatewayKeepsItsWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := breaker{wellAt: time.Now()}
		for range 6 {
			fails(&b, false, recoveryFailures)
			b.worked(time.Now())
		}
		if wait := b.wait(time.Now()); wait < 10*time.Second {
			t.Errorf("the next probe comes after %v", wait)
		}
		<-time.After(2 * steadyAfter)
		b.worked(time.Now())
		if wait := b.wait(time.Now()); wait > probeFirst {
			t.Errorf("after it worked for long, the next probe comes after %v", wait)
		}
	})
}

func TestPauseIsNeverShortened(t *testing.T) {
	gs, _ := idleGateways(10, 4, 4)
	all := lanes(3)
	gs.submitAll("a", live, all[:2]...)
	gs.submitAll("b", live, all[2])
	_ = takeReady(gs, all)
	now := time.Now()
	gs.report(all[0], &outgoing{}, poke.Outcome{Kind: poke.Retry, Class: poke.ClassHTTP429, Status: 429, RetryAfter: time.Hour}, now, now)
	gs.report(all[1], &outgoing{}, poke.Outcome{Kind: poke.Retry, Class: poke.ClassHTTP429, Status: 429, RetryAfter: time.Second}, now, now)
	if got := gs.pausedUntil(all[0].node.gate); !got.Equal(now.Add(time.Hour)) {
		t.Errorf("paused until %v, want %v", got, now.Add(time.Hour))
	}
	if !gs.pausedUntil(all[2].node.gate).IsZero() {
		t.Error("another gateway is paused too")
	}
}

// Whether the live lanes of a gateway should lag depends on how long they will wait because
// of it, not on how many there are.
func TestSwamped(t *testing.T) {
	for _, tc := range []struct {
		name            string
		live, late      int
		latency         time.Duration
		places, lagging int
		want            bool
	}{
		{name: "fast, and our own CPU is the limit", live: 16_000, latency: 20 * time.Millisecond, places: 256},
		{name: "slow, but not much to do", live: 100, latency: 700 * time.Millisecond, places: 256},
		{name: "slow, and too much", live: 400, latency: 700 * time.Millisecond, places: 256, want: true},
		{name: "slow, and lagging lanes take turns", live: 200, lagging: 1000, latency: 700 * time.Millisecond, places: 256, want: true},
		{name: "some hang", live: 100, late: 10, latency: 5 * time.Millisecond, places: 256},
		{name: "all that is allowed hangs", live: 1, late: 8, places: 8, want: true},
	} {
		g := gateway{latency: tc.latency.Seconds(), late: tc.late}
		g.limit.Value, g.limit.Ceiling = float64(tc.places), float64(tc.places)
		g.waiting[liveQueue].n, g.waiting[behindQueue].n = tc.live, tc.lagging
		if g.swamped() != tc.want {
			t.Errorf("%s: %t", tc.name, !tc.want)
		}
	}
}
