package deliver

import (
	"slices"
	"sync/atomic"
	"time"
)

// ageBounds is the number of upper bounds of a histogram.
const ageBounds = 18

// ageLimits returns the upper bounds of a histogram, in seconds: from a delay that no user
// notices to the time to live of a poke.
func ageLimits() [ageBounds]float64 {
	return [ageBounds]float64{
		0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 21600, 86400,
	}
}

// histogram counts durations.
type histogram struct {
	counts [ageBounds + 1]atomic.Uint64 // up to each bound, and beyond the last
	micros atomic.Uint64                // the sum
}

func (h *histogram) add(d time.Duration) {
	d = max(d, 0) // the clocks of NATS and ours may differ
	limits := ageLimits()
	i, _ := slices.BinarySearch(limits[:], d.Seconds())
	h.counts[i].Add(1)
	h.micros.Add(uint64(d.Microseconds())) //nolint:gosec // not negative
}

// Histogram is a distribution of seconds, with the cumulative buckets of Prometheus.
type Histogram struct {
	Count   uint64
	Sum     float64
	Buckets map[float64]uint64 // how many were at most that long
}

func (h *histogram) snapshot() Histogram {
	s := Histogram{Sum: float64(h.micros.Load()) / 1e6, Buckets: map[float64]uint64{}}
	for i, limit := range ageLimits() {
		s.Count += h.counts[i].Load()
		s.Buckets[limit] = s.Count
	}
	s.Count += h.counts[ageBounds].Load()
	return s
}
