package auth

import (
	"sync"
	"time"
)

// Histogram is a distribution of durations in seconds: how many were at most as long as
// each bound.
type Histogram struct {
	Count   uint64
	Sum     float64
	Buckets map[float64]uint64
}

// durations collects a Histogram.
type durations struct {
	mu      sync.Mutex
	count   uint64
	sum     float64
	buckets [len(durationBounds)]uint64
}

func (d *durations) add(took time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.count++
	d.sum += took.Seconds()
	for i, bound := range durationBounds {
		if took.Seconds() <= bound {
			d.buckets[i]++
		}
	}
}

func (d *durations) snapshot() Histogram {
	d.mu.Lock()
	defer d.mu.Unlock()
	h := Histogram{Count: d.count, Sum: d.sum, Buckets: map[float64]uint64{}}
	for i, bound := range durationBounds {
		h.Buckets[bound] = d.buckets[i]
	}
	return h
}

// durationBounds are the upper bounds of the buckets, in seconds.
var durationBounds = [...]float64{0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10} //nolint:gochecknoglobals // an array has no constants
