//go:build !race

package natstest

import (
	"os"
	"runtime"

	"poked/events/eventstest"
)

// oneAtATime makes one goroutine run at a time, unless GOMAXPROCS is set or benchmarks run. In a
// bubble hardly two have work at the same moment: a second processor wakes up for each message,
// for a third more processor time, and takes it from another package's tests.
func oneAtATime() {
	if _, set := os.LookupEnv("GOMAXPROCS"); !set && !eventstest.Measures() {
		runtime.GOMAXPROCS(1)
	}
}
