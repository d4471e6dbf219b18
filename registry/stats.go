package registry

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
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
