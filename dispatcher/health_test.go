package dispatcher

import (
	"testing"
	"time"

	"poked/events/eventstest"
)

// Whatever a gateway answers is counted under one of the names.
func TestTallyNamesEveryAnswer(t *testing.T) {
	var counted tally
	for status := range 1000 {
		out := decide(answer{status: status, body: []byte("{}")}, "key", time.Time{})
		counted.add(out)
		name := classNames()[classIndex(out)]
		if named := status >= 100 && status < 600; named == (name == "other") {
			t.Errorf("%d is counted as %s", status, name)
		}
	}
	total := uint64(0)
	for _, tries := range counted.tries() {
		total += tries.Count
	}
	if total != 1000 {
		t.Errorf("%d of 1000 were counted", total)
	}
}

func TestHistogram(t *testing.T) {
	var h histogram
	for _, d := range []time.Duration{-time.Second, 5 * time.Millisecond, 6 * time.Millisecond, time.Second, 48 * time.Hour} {
		h.add(d)
	}
	s := h.snapshot()
	if s.Count != 5 || s.Sum != 48*3600+1.011 || s.Buckets[0.005] != 2 || s.Buckets[0.01] != 3 || s.Buckets[1] != 4 || s.Buckets[86400] != 4 {
		t.Errorf("%+v", s)
	}
}

// TestHealth has a gateway go down for an hour and come back.
func TestHealth(t *testing.T) {
	bubble(t, func(t *testing.T, h *house) {
		h.register("@bob:x", "gw.test", "bob")
		h.begin()
		<-h.d.Ready()
		if why := h.d.Unready(); why != "" {
			t.Errorf("not ready: %s", why)
		}
		h.room("!r", "@alice:x", "@bob:x")
		h.gateway.Answer(down())
		h.say("!r", "@alice:x", 0, 3)
		<-time.After(time.Hour + pageLength/2) // not in the moment of a probe
		switch now := h.d.Health(); {
		case now.OldestDue.IsZero() || time.Since(now.OldestDue) < 59*time.Minute || time.Since(now.OldestDue) > 61*time.Minute:
			t.Errorf("something waits since %s", now.OldestDue)
		case now.Lagging != 1 || now.Notifications != 3 || now.RoomEvents != 7 || now.Gateways["open"] != 1:
			t.Errorf("%+v", now)
		}
		h.gateway.Answer(up())
		eventstest.WaitFor(t, "all to be told", func() bool { return h.d.Health().Latency.Count == 3 })
		if now := h.d.Health(); !now.OldestDue.IsZero() || now.Latency.Buckets[1800] != 0 {
			t.Errorf("%+v", now)
		}
		for _, f := range h.own.Following() {
			if f.Waiting != 0 || f.Open != 0 {
				t.Errorf("%+v", f)
			}
		}
		if n := len(h.own.Following()); n != 5 {
			t.Errorf("%d partitions are followed, want two of each stage and what is in none", n)
		}
		h.halt()
		if n := len(h.own.Following()); n != 0 {
			t.Errorf("%d partitions are followed after the end", n)
		}
	})
}
