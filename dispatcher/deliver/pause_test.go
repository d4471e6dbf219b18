package deliver

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"poked/events"
	"poked/events/natstest"
	"poked/events/stream"
)

// A pause that another dispatcher shares again, or that becomes longer, does not change how
// fast the limit grows after it.
func TestPauseThatGrowsIsOnePause(t *testing.T) {
	gs := NewGateways(100, 8, 100, nil, func(func()) {})
	now := time.Now()
	g := gs.at("https://gw.test", now)
	g.limit.Value = 64
	gs.pause(g, now.Add(time.Minute), now)
	gs.announce(g, now)
	for _, p := range gs.takeUnshared(now) {
		gs.ApplyPause(p)
	}
	gs.pause(g, now.Add(2*time.Minute), now)
	if g.limit.Threshold != 64 || g.limit.Value != 8 {
		t.Errorf("after the pause the gateway gets %v places, and doubles them up to %v", g.limit.Value, g.limit.Threshold)
	}
}

// Dispatchers that were asked for pauses of about the same length write a few of them, and
// agree on the longest, in whatever order they learn of each other's.
func TestPausesOfManyDispatchersComeToAnEnd(t *testing.T) {
	const dispatchers = 16
	luck := rand.New(rand.NewPCG(1, 1))
	now := time.Now()
	var all [dispatchers]*Gateways
	var read [dispatchers]int // pauses that a dispatcher has read
	var written []events.Pause
	longest := now.Add(time.Minute + time.Duration(dispatchers)*100*time.Millisecond)
	for i := range all {
		all[i] = NewGateways(100, 8, 100, nil, func(func()) {})
		g := all[i].at("https://gw.test", now)
		all[i].pause(g, longest.Add(-time.Duration(i)*100*time.Millisecond), now)
		all[i].announce(g, now)
	}
	idle := 0
	for ; idle < 100*dispatchers && len(written) < 1000; idle++ {
		i := luck.IntN(dispatchers)
		if read[i] < len(written) && luck.IntN(3) > 0 {
			all[i].ApplyPause(written[read[i]])
			read[i]++
			idle = 0
			continue
		}
		if pauses := all[i].takeUnshared(now); len(pauses) > 0 {
			written = append(written, pauses...)
			idle = 0
		}
	}
	if len(written) > 10*dispatchers {
		t.Errorf("%d pauses were written", len(written))
	}
	if last := written[len(written)-1].Until; last.Before(longest) || last.After(longest.Add(time.Second)) {
		t.Errorf("the last is until %v, want the longest, %v", last, longest)
	}
}

// A dispatcher on standby forgets the pauses of others when they are over.
func TestG7StandbyForgetsPauses(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, _ *natstest.Server, conn *stream.Conn) {
		gs := NewGateways(100, 8, 100, nil, func(func()) {})
		ctx, cancel := context.WithCancel(t.Context())
		var beside sync.WaitGroup
		defer beside.Wait()
		defer cancel()
		beside.Go(func() { gs.KeepTime(ctx, conn.TickInterval()) })
		beside.Go(func() {
			if err := conn.WatchPauses(ctx, gs.ApplyPause, func() {}); err != nil {
				t.Error(err)
			}
		})
		for n := range 1000 {
			conn.PutPause(events.Pause{Origin: fmt.Sprintf("https://gw-%d.test", n), Until: time.Now().Add(time.Minute)}, func(error) {})
		}
		<-time.After(10 * time.Second)
		if n := len(gs.States(false)); n != 1000 {
			t.Errorf("the dispatcher knows %d gateways", n)
		}
		<-time.After(3 * forgetAfter)
		gs.mu.Lock()
		defer gs.mu.Unlock()
		if gates, slots := len(gs.byOrigin), len(gs.wheel.slots); gates+slots > 0 {
			t.Errorf("long after the pauses %d gateways and %d slots of the timer wheel are left", gates, slots)
		}
	})
}
