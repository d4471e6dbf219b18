package bench

import (
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
)

// heapSampling is every how many bytes an allocation goes into the heap profile:
// oftener than usual, for some hundred bytes a pusher have to show.
const heapSampling = 64 << 10

// memoryUse is what a process holds in memory, in bytes.
type memoryUse struct {
	RSS  int64 `json:"rss"` // 0 where /proc does not tell it
	Heap int64 `json:"go_heap"`
	// The heap, by who allocated it: estimates from the sampled heap profile.
	NATS       int64 `json:"go_heap_nats_server"`
	Dispatcher int64 `json:"go_heap_dispatcher"`
}

// remember measures once all garbage has gone back to the system.
func remember() memoryUse {
	debug.FreeOSMemory()
	debug.FreeOSMemory() // the heap profile is that of the collection before
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	m := memoryUse{RSS: residentBytes(), Heap: int64(stats.HeapAlloc)} //nolint:gosec // no heap is that large
	records := make([]runtime.MemProfileRecord, 1024)
	n, ok := runtime.MemProfile(records, false)
	for ; !ok; n, ok = runtime.MemProfile(records, false) {
		records = make([]runtime.MemProfileRecord, 2*n)
	}
	for i := range records[:n] {
		switch owner(records[i].Stack()) {
		case "nats":
			m.NATS += inUse(&records[i])
		case "dispatcher":
			m.Dispatcher += inUse(&records[i])
		}
	}
	return m
}

// owner says in whose code a stack is, looking outwards from the allocation.
func owner(stack []uintptr) string {
	frames := runtime.CallersFrames(stack)
	for more := len(stack) > 0; more; {
		var frame runtime.Frame
		frame, more = frames.Next()
		switch {
		case strings.Contains(frame.Function, "nats-server/v2/"):
			return "nats"
		case strings.HasPrefix(frame.Function, "poked/dispatcher."):
			return "dispatcher"
		}
	}
	return ""
}

// inUse estimates what a record stands for. An allocation is sampled with a
// probability that falls off exponentially with its size (runtime.MemProfileRate).
func inUse(r *runtime.MemProfileRecord) int64 {
	if r.InUseObjects() == 0 {
		return 0
	}
	size := float64(r.InUseBytes()) / float64(r.InUseObjects())
	return int64(float64(r.InUseBytes()) / (1 - math.Exp(-size/float64(runtime.MemProfileRate))))
}

// residentBytes returns how much of the process is in memory, or 0 if the
// system does not say.
func residentBytes() int64 { return statusBytes("VmRSS:") }

// peakBytes returns the most that the process ever had in memory, or 0 if the
// system does not say.
func peakBytes() int64 { return statusBytes("VmHWM:") }

// statusBytes returns a figure that /proc gives in KiB.
func statusBytes(name string) int64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(status), name)
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	kib, _ := strconv.ParseInt(fields[0], 10, 64)
	return kib << 10
}
