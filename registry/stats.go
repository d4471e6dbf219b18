package registry

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Requests counts the requests of clients with one path and one status.
type Requests struct {
	Path   string // template below its prefix, such as /pushers/set; "" if it is unknown
	Status int
	Count  uint64
}

// requestCounts counts requests. Paths and statuses are closed sets.
type requestCounts struct {
	mu     sync.Mutex
	counts map[Requests]uint64 // keys without Count
}

// expect makes the successful requests of each path appear from the start, at zero.
func (r *requestCounts) expect(table []endpoint) {
	for i := range table {
		r.count(table[i].template, http.StatusOK, 0)
	}
}

func (r *requestCounts) add(template string, status int) { r.count(template, status, 1) }

func (r *requestCounts) count(template string, status int, n uint64) {
	for _, prefix := range []string{prefixV3, prefixR0, prefixOriginal} {
		template = strings.TrimPrefix(template, prefix)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.counts == nil {
		r.counts = map[Requests]uint64{}
	}
	r.counts[Requests{Path: template, Status: status}] += n
}

// snapshot returns the counts, sorted by path and status.
func (r *requestCounts) snapshot() []Requests {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := slices.SortedFunc(maps.Keys(r.counts), func(a, b Requests) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), a.Status-b.Status)
	})
	for i := range list {
		list[i].Count = r.counts[list[i]]
	}
	return list
}

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

// durationBounds are the upper bounds of the buckets, in seconds.
var durationBounds = [...]float64{0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10} //nolint:gochecknoglobals // an array has no constants

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
