package dispatcher

import (
	"testing"
	"time"

	"poked/events"
	"poked/events/eventstest"
)

// A gateway that hung and works again is noticed within the time between two probes, though
// requests from before occupy its whole concurrency limit for much longer. Lagging pushers
// do not wait for those requests either.
func TestG5HungGatewayIsNoticedSoonAfterItIsBack(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.cfg.GatewaySlots, h.cfg.RequestTimeout = 64, 10*time.Minute
		h.hosts = []string{"hung.test"}
		users := h.registerMany(100, "hung.test", "hung")
		h.start()
		h.room("!r", append([]events.UserID{"@alice:x"}, users...)...)
		h.gateway.Answer(always(eventstest.Reply{After: time.Hour}))
		h.say("!r", "@alice:x", 0, 1)
		<-time.After(100 * time.Second)
		if most := h.gateway.MostAtOnce("hung.test"); most > h.cfg.GatewaySlots {
			t.Errorf("%d pokes in flight, the limit is %d", most, h.cfg.GatewaySlots)
		}
		h.gateway.Answer(up())
		back := time.Now()
		eventstest.WaitFor(t, "the first poke", func() bool { return len(h.gateway.Pokes()) > 0 })
		if late := time.Since(back); late > 30*time.Second {
			t.Errorf("the first poke arrived %v after the gateway was back", late)
		}
		<-time.After(10 * time.Second)
		if n := len(h.gateway.Pokes()); n < 80 { // all but those whose requests hang
			t.Errorf("%d pokes arrived", n)
		}
	})
}
