package dispatcher

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// idleGateways has slots that are counted and never run, so that a test takes
// what is ready by itself.
func idleGateways(slots, perGateway int) (gs *gateways, spawned *int) {
	spawned = new(int)
	return newGateways(slots, perGateway, func(func()) { *spawned++ }), spawned
}

func (gs *gateways) submitAll(origin string, lanes ...*lane) {
	for _, l := range lanes {
		gs.submit(l, origin)
	}
}

func lanes(n int) []*lane {
	all := make([]*lane, n)
	for i := range all {
		all[i] = &lane{}
	}
	return all
}

// takeReady returns the numbers of the lanes that are ready, in order.
func takeReady(gs *gateways, all []*lane) []int {
	var taken []int
	for gs.ready.len() > 0 {
		l, _ := gs.next()
		taken = append(taken, slices.Index(all, l))
	}
	return taken
}

func TestGatewayLimitAndFairness(t *testing.T) {
	gs, _ := idleGateways(10, 2)
	all := lanes(6)
	gs.submitAll("a", all[:5]...)
	gs.submit(all[5], "b")
	if got := takeReady(gs, all); !slices.Equal(got, []int{0, 1, 5}) {
		t.Fatalf("ready: %v, want two of one gateway and the one of the other", got)
	}
	gs.release(all[1], "a")
	gs.submit(all[1], "a") // again, behind those who wait
	gs.release(all[0], "a")
	if got := takeReady(gs, all); !slices.Equal(got, []int{2, 3}) {
		t.Errorf("next: %v, want who waited longest", got)
	}
	gs.release(all[2], "a")
	gs.release(all[3], "a")
	if got := takeReady(gs, all); !slices.Equal(got, []int{4, 1}) {
		t.Errorf("last: %v", got)
	}
}

func TestSlotsAreNeverMoreThanAllowed(t *testing.T) {
	gs, spawned := idleGateways(3, 100)
	gs.submitAll("a", lanes(10)...)
	if *spawned != 3 {
		t.Errorf("%d slots, want 3", *spawned)
	}
}

// Two lanes that become ready at once need two slots, even if one slot waits:
// it may hang with the first for as long as a poke may take.
func TestIdleSlotIsCountedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gs, spawned := idleGateways(10, 10)
		taken := make(chan *lane, 1)
		go func() {
			l, _ := gs.next()
			taken <- l
		}()
		synctest.Wait() // the slot waits
		gs.mu.Lock()
		gs.makeReady(&lane{})
		gs.makeReady(&lane{})
		gs.mu.Unlock()
		<-taken
		if *spawned != 1 {
			t.Errorf("%d slots were made for the second lane, want 1", *spawned)
		}
	})
}

func TestIdleGatewayIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gs, _ := idleGateways(10, 1)
		all := lanes(2)
		gs.submitAll("a", all...)
		gs.lags(all[0], "a")
		gs.release(all[0], "a")
		gs.release(all[1], "a")
		if len(gs.byOrigin) != 1 {
			t.Error("a gateway where a pusher lags was forgotten")
		}
		gs.lagsNoMore(all[0], "a")
		if len(gs.byOrigin) != 0 {
			t.Error("a gateway where nothing goes on was kept")
		}

		gs.submit(all[0], "a")
		gs.report("a", outcome{kind: outcomeRetry, retryAfter: time.Minute}, time.Now())
		gs.release(all[0], "a")
		if gs.pausedUntil("a").IsZero() {
			t.Error("a pause was forgotten")
		}
		<-time.After(2 * time.Minute)
		_, _ = gs.look(time.Now())
		if len(gs.byOrigin) != 0 {
			t.Error("a gateway whose pause is over was kept")
		}
	})
}

func TestReportWakesWhoLagsOnceTheGatewayIsBack(t *testing.T) {
	gs, _ := idleGateways(10, 1)
	all := lanes(3)
	for _, l := range all {
		gs.lags(l, "a")
	}
	now := time.Now()
	fail, success := outcome{kind: outcomeRetry}, outcome{kind: outcomeDelivered}
	for range recoveryFailures - 1 {
		gs.report("a", fail, now)
	}
	if woken := gs.report("a", success, now); len(woken) != 0 {
		t.Errorf("%d woken at a gateway that was not down", len(woken))
	}
	for range recoveryFailures {
		gs.report("a", fail, now)
	}
	if woken := gs.report("a", success, now); len(woken) != 3 {
		t.Errorf("%d woken, want all 3", len(woken))
	}
	if woken := gs.report("a", success, now); len(woken) != 0 {
		t.Errorf("%d woken again", len(woken))
	}
}

func TestPauseIsNeverShortened(t *testing.T) {
	gs, _ := idleGateways(10, 1)
	now := time.Now()
	gs.report("a", outcome{kind: outcomeRetry, retryAfter: time.Hour}, now)
	gs.report("a", outcome{kind: outcomeRetry, retryAfter: time.Second}, now)
	if got := gs.pausedUntil("a"); !got.Equal(now.Add(time.Hour)) {
		t.Errorf("paused until %v, want %v", got, now.Add(time.Hour))
	}
	if !gs.pausedUntil("b").IsZero() {
		t.Error("another gateway is paused too")
	}
}

func TestFIFO(t *testing.T) {
	var q fifo[*int]
	next := 0
	for n := range 3000 {
		q.push(&n)
		if n%3 > 0 {
			continue
		}
		if got, ok := q.pop(); !ok || *got != next {
			t.Fatalf("popped %d, want %d", *got, next)
		}
		next++
	}
	for q.len() > 0 {
		if got, _ := q.pop(); *got != next {
			t.Fatalf("popped %d, want %d", *got, next)
		}
		next++
	}
	if _, ok := q.pop(); ok || next != 3000 {
		t.Errorf("%d came out, want 3000", next)
	}
	for _, kept := range q.items[:cap(q.items)] {
		if kept != nil {
			t.Fatal("the queue keeps what it gave out")
		}
	}
}
