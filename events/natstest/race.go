//go:build race

package natstest

import "runtime"

// oneAtATime makes one goroutine run at a time. The timers of a bubble share one
// context of the race detector, and two threads that run timers of the same bubble at
// the same moment corrupt it (golang/go#78059, golang/go#78156). The detector finds the
// same races on one processor, since it compares the order of events.
func oneAtATime() { runtime.GOMAXPROCS(1) }
