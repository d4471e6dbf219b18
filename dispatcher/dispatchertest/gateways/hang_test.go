package gateways_test

import (
	"testing"
	"time"

	"poked/dispatcher/dispatchertest"
	"poked/events"
	"poked/events/eventstest"
)

// A gateway that hung and works again is noticed within the time between two probes, though
// requests from before occupy its whole concurrency limit for much longer. Lagging pushers
// do not wait for those requests either.
func TestG5HungGatewayIsNoticedSoonAfterItIsBack(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Config.GatewaySlots, h.Config.RequestTimeout = 64, 10*time.Minute
		h.Hosts = []string{"hung.test"}
		users := h.RegisterMany(100, "hung.test", "hung")
		h.Start()
		h.Room("!r", append([]events.UserID{"@alice:x"}, users...)...)
		h.Gateway.Answer(dispatchertest.Always(eventstest.Reply{After: time.Hour}))
		h.Say("!r", "@alice:x", 0, 1)
		<-time.After(100 * time.Second)
		if most := h.Gateway.MostAtOnce("hung.test"); most > h.Config.GatewaySlots {
			t.Errorf("%d pokes in flight, the limit is %d", most, h.Config.GatewaySlots)
		}
		h.GatewayUp()
		back := time.Now()
		eventstest.WaitFor(t, "the first poke", func() bool { return len(h.Gateway.Pokes()) > 0 })
		if late := time.Since(back); late > 30*time.Second {
			t.Errorf("the first poke arrived %v after the gateway was back", late)
		}
		<-time.After(10 * time.Second)
		if n := len(h.Gateway.Pokes()); n < 80 { // all but those whose requests hang
			t.Errorf("%d pokes arrived", n)
		}
	})
}
