package bench

import (
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
)

// heapSampling is the sampling interval of the heap profile in bytes: shorter than the
// default, because it must show a few hundred bytes per pusher.
const heapSampling = 64 << 10

// memoryUse is the memory of a process, in bytes.
type memoryUse struct {
	RSS  int64 `json:"rss"` // 0 if /proc does not have it
	Heap int64 `json:"go_heap"`
	// The heap by allocating code: estimates from the sampled heap profile.
	NATS       int64 `json:"go_heap_nats_server"`
	Dispatcher int64 `json:"go_heap_dispatcher"`
}

// remember measures the memory after all garbage has been returned to the system.
func remember() memoryUse {
	debug.FreeOSMemory()
	debug.FreeOSMemory() // the heap profile is one collection late
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	m := memoryUse{RSS: residentBytes(), Heap: int64(stats.HeapAlloc)} //nolint:gosec // no heap is that large
	records := make([]runtime.MemProfileRecord, 1024)
	n, ok := runtime.MemProfile(records, false)
	for ; !ok; n, ok = runtime.MemProfile(records, false) {
		records = make([]runtime.MemProfileRecord, 2*n)
	}
	for i := range records[:n] {
		switch allocator(records[i].Stack()) {
		case "nats":
			m.NATS += inUse(&records[i])
		case "dispatcher":
			m.Dispatcher += inUse(&records[i])
		}
	}
	return m
}

// allocator returns whose code a stack belongs to, searching outwards from the allocation.
func allocator(stack []uintptr) string {
	frames := runtime.CallersFrames(stack)
	for more := len(stack) > 0; more; {
		var frame runtime.Frame
		frame, more = frames.Next()
		switch {
		case strings.Contains(frame.Function, "nats-server/v2/"):
			return "nats"
		case strings.HasPrefix(frame.Function, "poked/dispatcher"):
			return "dispatcher"
		}
	}
	return ""
}

// inUse estimates the bytes in use behind a sampled record. The probability that an
// allocation is sampled depends on its size and runtime.MemProfileRate.
func inUse(r *runtime.MemProfileRecord) int64 {
	if r.InUseObjects() == 0 {
		return 0
	}
	size := float64(r.InUseBytes()) / float64(r.InUseObjects())
	return int64(float64(r.InUseBytes()) / (1 - math.Exp(-size/float64(runtime.MemProfileRate))))
}

// residentBytes returns the resident set size of the process, or 0 if it is unknown.
func residentBytes() int64 { return statusBytes("VmRSS:") }

// peakBytes returns the highest resident set size of the process so far, or 0 if it is
// unknown.
func peakBytes() int64 { return statusBytes("VmHWM:") }

// statusBytes returns a value of /proc/self/status in bytes.
func statusBytes(name string) int64 { return statusBytesOf("self", name) }

// statusBytesOf returns a value of the status of a process in bytes, or 0 if it is unknown.
func statusBytesOf(process, name string) int64 {
	status, err := os.ReadFile("/proc/" + process + "/status")
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
