package deliver

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"poked/dispatcher/poke"
)

// idleGateways returns gateways whose slots are counted and never run: the test takes the
// lanes that are ready.
func idleGateways(slots, floor, ceiling int) (gs *Gateways, spawned *int) {
	spawned = new(int)
	return NewGateways(slots, floor, ceiling, nil, func(func()) { *spawned++ }), spawned
}

// submitAll submits lanes: live ones, or lagging ones with a number of failures each.
func (gs *Gateways) submitAll(origin string, failures int, lanes ...*lane) {
	for _, l := range lanes {
		if failures > live {
			l.lag = &lag{attempts: failures}
		}
		gs.submit(l, origin, false, time.Now())
	}
}

const live = -1

func lanes(n int) []*lane {
	all := make([]*lane, n)
	for i := range all {
		all[i] = &lane{}
	}
	return all
}

// takeReady returns the numbers of the lanes that are ready, in order. Their
// attempts begin.
func takeReady(gs *Gateways, all []*lane) []int {
	var taken []int
	for gs.ready.n > 0 {
		l, _ := gs.next()
		taken = append(taken, slices.Index(all, l))
	}
	return taken
}

// end reports an outcome for lanes whose attempts begin now and take no time.
func (gs *Gateways) end(out poke.Outcome, lanes ...*lane) {
	for _, l := range lanes {
		gs.report(l, &outgoing{}, out, time.Now(), time.Now())
	}
}

func wantReady(t *testing.T, gs *Gateways, all []*lane, want ...int) {
	t.Helper()
	if got := takeReady(gs, all); !slices.Equal(got, want) {
		t.Errorf("ready: %v, want %v", got, want)
	}
}

func TestGatewayLimitAndFairness(t *testing.T) {
	gs, _ := idleGateways(10, 2, 2)
	all := lanes(6)
	gs.submitAll("a", live, all[:5]...)
	gs.submitAll("b", live, all[5])
	wantReady(t, gs, all, 0, 1, 5) // two of one gateway and the one of the other
	gs.release(all[1])
	gs.submitAll("a", live, all[1]) // again, behind those that wait
	gs.release(all[0])
	wantReady(t, gs, all, 2, 3)
	gs.release(all[2])
	gs.release(all[3])
	wantReady(t, gs, all, 4, 1)
}

// Lagging and live lanes take turns, and each queue keeps its order.
func TestLaggingAndLiveLanesTakeTurns(t *testing.T) {
	gs, _ := idleGateways(10, 1, 1)
	all := lanes(7)
	gs.submitAll("a", live, all[0])
	gs.submitAll("a", 0, all[4:]...)
	gs.submitAll("a", live, all[1:4]...)
	var order []int
	for range all {
		taken := takeReady(gs, all)
		order = append(order, taken...)
		gs.release(all[taken[0]])
	}
	if !slices.Equal(order, []int{0, 4, 1, 5, 2, 6, 3}) {
		t.Errorf("the order is %v", order)
	}
}

// A lane that moves to another gateway, or is removed, leaves no gap in the queue.
func TestWithdrawnLaneIsNotTried(t *testing.T) {
	gs, _ := idleGateways(10, 1, 1)
	all := lanes(4)
	gs.submitAll("a", live, all...)
	wantReady(t, gs, all, 0)
	if gs.withdraw(all[0]) {
		t.Error("a lane was withdrawn whose attempt is in flight")
	}
	if !gs.withdraw(all[2]) || gs.withdraw(all[2]) {
		t.Error("a lane that waits can be withdrawn, once")
	}
	gs.release(all[0])
	wantReady(t, gs, all, 1)
	gs.release(all[1])
	wantReady(t, gs, all, 3)
}

func TestSlotsAreNeverMoreThanAllowed(t *testing.T) {
	gs, spawned := idleGateways(3, 100, 100)
	gs.submitAll("a", live, lanes(10)...)
	if *spawned != 3 {
		t.Errorf("%d slots, want 3", *spawned)
	}
}

// Two lanes that become ready at once need two slots, even if one slot waits:
// it may hang with the first for as long as a poke may take.
func TestIdleSlotIsCountedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gs, spawned := idleGateways(10, 10, 10)
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
		gs, _ := idleGateways(10, 1, 1)
		l := &lane{}
		known := func(after time.Duration) bool {
			<-time.After(after)
			_ = gs.look(time.Now())
			return len(gs.byOrigin) > 0
		}
		gs.submitAll("a", live, l)
		_ = takeReady(gs, nil)
		g := gs.lags(l, "a")
		gs.end(poke.Outcome{Kind: poke.Delivered}, l)
		if !known(3 * forgetAfter) {
			t.Error("a gateway where a pusher lags was forgotten")
		}
		gs.lagsNoMore(g)
		if !known(time.Second) || known(2*forgetAfter) {
			t.Error("an idle gateway was not kept for a while, or for too long")
		}

		gs.submitAll("a", live, l)
		_ = takeReady(gs, nil)
		gs.end(poke.Outcome{Kind: poke.Retry, Class: poke.ClassHTTP429, Status: 429, RetryAfter: time.Hour}, l)
		if !known(55 * time.Minute) {
			t.Error("a pause was forgotten")
		}
		if known(2 * forgetAfter) {
			t.Error("a gateway whose pause is over was kept")
		}
		if n := len(gs.wheel.slots); n != 0 {
			t.Errorf("%d slots are left in the timer wheel", n)
		}
	})
}

// While a gateway is down, one lane at a time is its probe, a different one each time. After
// the first success the others follow, as many as there are places.
func TestG5LanesComeBackInOrderAndAsPlacesAreFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gs, _ := idleGateways(100, 2, 8)
		all := lanes(40)
		fail, success := poke.Outcome{Kind: poke.Retry, Class: poke.ClassHTTP5xx, Status: 502}, poke.Outcome{Kind: poke.Delivered, Status: 200}
		gs.submitAll("a", live, all[:3]...)
		gs.end(fail, all[takeReady(gs, all)[0]], all[1])
		gs.submitAll("a", 1, all[:2]...)
		for _, i := range takeReady(gs, all) {
			gs.end(fail, all[i])
		}
		gs.submitAll("a", 1, all...)
		wantReady(t, gs, all)
		for probe := range 3 {
			<-time.After(ProbeLimit)
			_ = gs.look(time.Now())
			wantReady(t, gs, all, probe)
			if probe < 2 {
				gs.end(fail, all[probe])
				gs.submitAll("a", 1, all[probe])
			}
		}
		gs.end(success, all[2])
		var order []int
		for _, most := range []int{2, 4, 8, 8, 8} { // doubling up to the ceiling
			taken := takeReady(gs, all)
			if len(taken) > most {
				t.Errorf("%d at once, want %d at most", len(taken), most)
			}
			for _, i := range taken {
				gs.end(success, all[i])
			}
			order = append(order, taken...)
		}
		if !slices.IsSorted(order) || order[0] != 3 {
			t.Errorf("they recovered in the order %v", order)
		}
	})
}

// An idle gateway costs little memory, and the timer little CPU.
func TestTenThousandOriginsCostLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 10_000
		gs, _ := idleGateways(n, 8, 256)
		before := heap()
		for i := range n {
			l := &lane{}
			gs.submitAll(fmt.Sprintf("https://gateway-%d.example.com", i), live, l)
			_ = takeReady(gs, nil)
			gs.end(poke.Outcome{Kind: poke.Delivered, Status: 200}, l)
		}
		each := (heap() - before) / n
		t.Logf("%d bytes for each of %d idle gateways", each, n)
		if each > 1024 {
			t.Errorf("%d bytes for each idle gateway", each)
		}
		allocs := testing.AllocsPerRun(100, func() {
			<-time.After(SlotLength)
			_ = gs.look(time.Now())
		})
		if allocs > 20 {
			t.Errorf("%.0f allocations for a look at nothing", allocs)
		}
		runtime.KeepAlive(gs)
	})
}

// heap returns how many bytes are in use.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// Slots that replaced late ones end when those are back.
func TestSlotsThatReplacedLateOnesEnd(t *testing.T) {
	gs, spawned := idleGateways(2, 100, 100)
	began, all := time.Now(), lanes(6)
	gs.submitAll("a", live, all...)
	for range 2 {
		gs.next()
	}
	gs.look(began.Add(2 * Patience))
	if *spawned != 4 {
		t.Fatalf("%d slots, want 2 and 2 replacements", *spawned)
	}
	for range 2 {
		gs.next() // the replacements
	}
	gs.end(poke.Outcome{Kind: poke.Delivered}, all[:2]...)
	for range 2 {
		if _, ok := gs.next(); ok {
			t.Error("a slot goes on though another one has replaced it")
		}
	}
	if gs.started != 2 {
		t.Errorf("%d slots, want 2", gs.started)
	}
}

// A gateway that hangs with all that it may get still gets probes, never more than the
// operator allows. One that works again has all its places at once, whatever still hangs.
func TestG5GatewayThatHangsIsProbed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gs, _ := idleGateways(100, 62, 64)
		all := lanes(200)
		gs.submitAll("a", live, all...)
		hung := takeReady(gs, all)
		if len(hung) != 62 {
			t.Fatalf("%d in flight, want 62 of 64", len(hung))
		}
		look := func(after time.Duration) []int {
			<-time.After(after)
			_ = gs.look(time.Now())
			return takeReady(gs, all)
		}
		if n := look(Patience); len(n) != 0 {
			t.Errorf("%d more were sent to a gateway that hangs", len(n))
		}
		g := all[0].node.gate
		if g.state(time.Now(), false).State != "open" {
			t.Errorf("the gateway is %s", g.state(time.Now(), false).State)
		}
		for range 2 {
			if n := look(ProbeLimit); len(n) != 1 {
				t.Fatalf("%d probes after %v, want one", len(n), ProbeLimit)
			}
			if n := look(Patience); len(n) != 0 {
				t.Errorf("%d were sent beside a late probe", len(n))
			}
		}
		if n := look(2 * ProbeLimit); len(n) != 0 {
			t.Errorf("%d were sent beyond what the operator allows", len(n))
		}
		gs.end(poke.Outcome{Kind: poke.Delivered, Status: 200}, all[hung[0]], all[hung[1]], all[hung[2]], all[hung[3]])
		if n := takeReady(gs, all); len(n) != 2 { // 60 hang, and 62 is the ceiling
			t.Errorf("%d were sent when the gateway worked again, want 2", len(n))
		}
	})
}

// While live lanes wait for long, because there is more to send than the dispatcher can, they
// get most turns, and what lags gets the others.
func TestG12FreshnessFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gs, _ := idleGateways(10, 1, 1)
		all := lanes(64)
		gs.submitAll("a", live, all[:32]...)
		gs.submitAll("a", 0, all[32:]...)
		<-time.After(Patience)
		fresh := 0
		for range 2 * freshTurns {
			taken := takeReady(gs, all)
			if taken[0] < 32 {
				fresh++
			}
			gs.release(all[taken[0]])
		}
		if fresh < 2*freshTurns-3 || fresh == 2*freshTurns {
			t.Errorf("live lanes got %d of %d turns", fresh, 2*freshTurns)
		}
	})
}
