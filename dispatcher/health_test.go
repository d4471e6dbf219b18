package dispatcher_test

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
		h.SpanHours()
		h.Register("@bob:x", "gw.test", "bob")
		h.Begin()
		<-h.Dispatcher.Ready()
		if why := h.Dispatcher.Unready(); why != "" {
			t.Errorf("not ready: %s", why)
		}
		h.Room("!r", "@alice:x", "@bob:x")
		h.GatewayDown()
		h.Say("!r", "@alice:x", 0, 3)
		<-time.After(time.Hour + deliver.SlotLength/2) // not at the moment of a probe
		switch now := h.Dispatcher.Health(); {
		case now.OldestDue.IsZero() || time.Since(now.OldestDue) < 59*time.Minute || time.Since(now.OldestDue) > 61*time.Minute:
			t.Errorf("the oldest notification waits since %s", now.OldestDue)
		case now.Lagging != 1 || now.Notifications != 3 || now.RoomEvents != 7 || now.Gateways["open"] != 1:
			t.Errorf("%+v", now)
		}
		h.GatewayUp()
		eventstest.WaitFor(t, "all deliveries", func() bool { return h.Dispatcher.Health().Latency.Count == 3 })
		if now := h.Dispatcher.Health(); !now.OldestDue.IsZero() || now.Latency.Buckets[1800] != 0 {
			t.Errorf("%+v", now)
		}
		for _, f := range h.Dispatcher.Following() {
			if f.Waiting != 0 || f.Open != 0 {
				t.Errorf("%+v", f)
			}
		}
		if n := len(h.Dispatcher.Following()); n != 5 {
			t.Errorf("%d partitions are followed, want two of each stage and the strays", n)
		}
		h.Halt()
		if n := len(h.Dispatcher.Following()); n != 0 {
			t.Errorf("%d partitions are followed after the end", n)
		}
	})
}
