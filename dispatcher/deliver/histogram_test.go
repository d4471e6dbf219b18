package deliver

import (
	"testing"
	"time"

	"poked/dispatcher/poke"
)

// Every status of a response is counted under one of the names.
func TestCountersNameEveryStatus(t *testing.T) {
	var counted Counters
	for status := range 1000 {
		out := poke.Decide(poke.Answer{Status: status, Body: []byte("{}")}, "key", time.Time{})
		counted.outcome(out, false, 0)
		name := out.Class.String()
		if named := status >= 100 && status < 600; named == (name == "other") {
			t.Errorf("%d is counted as %s", status, name)
		}
	}
	total := uint64(0)
	for _, tries := range counted.Tries() {
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
