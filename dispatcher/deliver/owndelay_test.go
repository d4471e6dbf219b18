package deliver

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"poked/dispatcher/poke"
)

// What this process is late by is no sign that a gateway is slow, overloaded or down: the
// same two seconds cost the gateway its limit and its breaker only if they were its own.
func TestG4OwnDelayIsNotTheGateways(t *testing.T) {
	for name, own := range map[string]bool{"this process stood still": true, "the gateway hung": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				gs, _ := idleGateways(64, 16, 64)
				gs.measures(true)
				all := lanes(16)
				gs.submitAll("a", live, all...)
				began := time.Now()
				_ = takeReady(gs, all)
				g := all[0].node.gate
				for i := range int(2 * time.Second / delayInterval) {
					<-time.After(delayInterval)
					if !own || i == 0 {
						gs.clockRuns(delayInterval)
					}
				}
				_ = gs.look(time.Now())
				for _, l := range all {
					gs.report(l, &outgoing{}, poke.Outcome{Kind: poke.Delivered, Status: 200}, began, time.Now())
				}
				slow := g.latency >= slowAnswer
				if grew := g.limit.Places() > 16; grew != own || slow == own {
					t.Errorf("%d places after 16 answers, want more: %t; latency %.3f s", g.limit.Places(), own, g.latency)
				}

				gs.clockRuns(delayInterval) // all is well again
				gs.submitAll("a", live, all...)
				began = time.Now()
				_ = takeReady(gs, all)
				places := g.limit.Places()
				for range int(2 * time.Second / delayInterval) {
					<-time.After(delayInterval)
					if !own {
						gs.clockRuns(delayInterval)
					}
				}
				_ = gs.look(time.Now())
				if g.breaker.open == own {
					t.Errorf("the breaker is open: %t", g.breaker.open)
				}
				gs.clockRuns(delayInterval)
				timeout := poke.Outcome{Kind: poke.Retry, Class: poke.ClassTimeout}
				for _, l := range all {
					gs.report(l, &outgoing{}, timeout, began, time.Now())
				}
				if kept := g.limit.Places() == places && !g.breaker.open; kept != own {
					t.Errorf("%d of %d places and breaker open: %t, after requests ran out of time", g.limit.Places(), places, g.breaker.open)
				}
			})
		})
	}
}

// A delay counts as far as it lies within a request, also while it is not over.
func TestOwnDelayOfARequest(t *testing.T) {
	at := func(ms int) time.Time { return time.Unix(0, 0).Add(time.Duration(ms) * time.Millisecond) }
	var o ownDelay
	for _, ran := range [][2]int{{100, 101}, {1000, 1400}, {2000, 2050}, {2100, 2200}, {3000, 3100}} {
		o.due = at(ran[0])
		o.ran(at(ran[1]))
	}
	o.due = at(4000)
	for _, tt := range []struct{ began, ended, want int }{
		{0, 3500, 400}, {1300, 3500, 100}, {1399, 3500, 100}, {3050, 3500, 50}, {3100, 3500, 0}, {3500, 4100, 100}, {4050, 4100, 50},
	} {
		if got := o.since(at(tt.began), at(tt.ended)); got != time.Duration(tt.want)*time.Millisecond {
			t.Errorf("from %d to %d: %v, want %d ms", tt.began, tt.ended, got, tt.want)
		}
	}
	for range 10 * delaysKept {
		o.ran(o.due.Add(time.Hour))
	}
	if len(o.late) != 1 {
		t.Errorf("%d delays are kept", len(o.late))
	}
}

// The clock notices, in real time, that goroutines wait for a processor, and stands while no
// request is in flight.
func TestOwnDelayIsMeasured(t *testing.T) {
	gs, _ := idleGateways(4, 4, 4)
	var beside sync.WaitGroup
	defer beside.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	beside.Go(func() { gs.MeasureDelay(ctx, 0) })
	until(t, func() bool { return gs.delay.measured }, gs)
	all := lanes(1)
	gs.submitAll("a", live, all...)
	_ = takeReady(gs, all)
	began := time.Now()
	var stop atomic.Bool
	var busy sync.WaitGroup
	for range 40 * runtime.GOMAXPROCS(0) { // each takes a processor for 10 ms at a time
		busy.Go(func() {
			for !stop.Load() {
			}
		})
	}
	until(t, func() bool { return gs.delay.since(began, time.Now()) > 100*time.Millisecond }, gs)
	stop.Store(true)
	busy.Wait()
	gs.release(all[0])
	until(t, func() bool { return gs.delay.due.IsZero() }, gs)
	if slices.ContainsFunc(gs.delay.late, func(d delayed) bool { return d.by <= 0 }) {
		t.Error("a delay of nothing is recorded")
	}
}

// until waits, for ten seconds at most, until something is true of gateways.
func until(t *testing.T, ok func() bool, gs *Gateways) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; <-time.After(time.Millisecond) {
		gs.mu.Lock()
		is := ok()
		gs.mu.Unlock()
		if is {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("it did not come true")
		}
	}
}
