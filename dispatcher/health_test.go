package dispatcher

import (
	"testing"
	"time"

	"poked/dispatcher/deliver"
	"poked/events/eventstest"
)

// TestHealth checks the figures of a dispatcher whose gateway is down for an hour.
func TestHealth(t *testing.T) {
	eventstest.Long(t)
	bubble(t, func(t *testing.T, h *harness) {
		h.spanHours()
		h.register("@bob:x", "gw.test", "bob")
		h.begin()
		<-h.d.Ready()
		if why := h.d.Unready(); why != "" {
			t.Errorf("not ready: %s", why)
		}
		h.room("!r", "@alice:x", "@bob:x")
		h.gateway.Answer(down())
		h.say("!r", "@alice:x", 0, 3)
		<-time.After(time.Hour + deliver.SlotLength/2) // not at the moment of a probe
		switch now := h.d.Health(); {
		case now.OldestDue.IsZero() || time.Since(now.OldestDue) < 59*time.Minute || time.Since(now.OldestDue) > 61*time.Minute:
			t.Errorf("the oldest notification waits since %s", now.OldestDue)
		case now.Lagging != 1 || now.Notifications != 3 || now.RoomEvents != 7 || now.Gateways["open"] != 1:
			t.Errorf("%+v", now)
		}
		h.gateway.Answer(up())
		eventstest.WaitFor(t, "all deliveries", func() bool { return h.d.Health().Latency.Count == 3 })
		if now := h.d.Health(); !now.OldestDue.IsZero() || now.Latency.Buckets[1800] != 0 {
			t.Errorf("%+v", now)
		}
		for _, f := range h.d.Following() {
			if f.Waiting != 0 || f.Open != 0 {
				t.Errorf("%+v", f)
			}
		}
		if n := len(h.d.Following()); n != 5 {
			t.Errorf("%d partitions are followed, want two of each stage and the strays", n)
		}
		h.halt()
		if n := len(h.d.Following()); n != 0 {
			t.Errorf("%d partitions are followed after the end", n)
		}
	})
}
