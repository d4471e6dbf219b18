//go:build race

package eventstest

import "runtime"

// oneAtATime has one goroutine run at a time. The timers of a bubble share one
// context of the race detector, and two threads that run timers of the same bubble
// at the same moment corrupt it (golang/go#78059, golang/go#78156). What happens
// before what, which is all that the detector goes by, is the same on one processor.
func oneAtATime() { runtime.GOMAXPROCS(1) }
