package deliver

import (
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"poked/dispatcher/directory"
	"poked/dispatcher/poke"
	"poked/events"
	"poked/events/eventstest"
	"poked/events/partition"
)

// 100,000 lagging pushers cost little memory each, whether they wait for their gateway or for
// their own next try, and none once they have caught up (G7). Writes to BACKLOG are left out:
// they are short.
func TestG7HundredThousandLaggingPushersCostLittle(t *testing.T) {
	eventstest.Long(t)
	synctest.Test(t, func(t *testing.T) {
		const n = 100_000
		gs, _ := idleGateways(1024, 8, 256)
		d := New(Config{Gates: gs, Counts: &Counters{}})
		d.follower, d.ended = &partition.Follower{}, true
		all := make([]*lane, n)
		for i := range all {
			p := &directory.Pusher{ID: events.PusherID(fmt.Sprint(i)), Refused: events.ErrBadEvent} // all at one origin
			all[i] = &lane{d: d, pusher: p}
		}
		openBreaker(gs, directory.RefusedOrigin)
		before := heap()
		cost := func() int64 { return (heap() - before) / n }

		for i, l := range all {
			l.enqueue(&item{seq: uint64(i + 1), n: new(events.Notification), waiting: 1})
			if l.lag == nil {
				t.Fatal("a lane at a gateway that is down does not lag")
			}
			l.record.held, l.record.covers = nil, true // as once it is stored
			l.enqueue(&item{seq: n + 1, n: new(events.Notification), waiting: 1})
		}
		waiting := cost()
		now := time.Now()
		for i, l := range all {
			l.withdraw()
			l.failed(now.Add(time.Duration(i)*time.Millisecond), poke.Outcome{Kind: poke.Slow, Class: poke.ClassHTTP4xx, Status: 404})
		}
		asleep := cost()
		for _, l := range all {
			l.withdraw()
			l.dropLag()
		}
		<-time.After(2 * time.Hour) // their slots of the timer wheel are over
		if due := gs.look(time.Now()); len(due) > 0 {
			t.Errorf("%d lanes are due that do not lag", len(due))
		}
		after := cost()
		t.Logf("bytes for each pusher: %d while it waits for its gateway, %d while it waits for itself, %d after", waiting, asleep, after)
		if waiting > 300 || asleep > 400 || after > 16 {
			t.Error("that is too much")
		}
		runtime.KeepAlive(all)
	})
}

// openBreaker reports enough failures at an origin to open its circuit breaker.
func openBreaker(gs *Gateways, origin string) {
	failing := lanes(recoveryFailures)
	gs.submitAll(origin, live, failing...)
	_ = takeReady(gs, failing)
	gs.end(poke.Outcome{Kind: poke.Retry, Class: poke.ClassHTTP5xx, Status: 502}, failing...)
	gs.mu.Lock()
	defer gs.mu.Unlock()
	gs.byOrigin[origin].breaker.unfailed = recoveryFailures // no lane is sent as a probe at once
}
