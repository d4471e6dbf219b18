// Package pokes_test tests a whole dispatcher in fake time: what a poke holds, of what kind it is, and
// what becomes of one that its gateway refuses, that is too large, or that comes too late.
package pokes_test

import (
	"testing"

	"poked/dispatcher/dispatchertest"
	"poked/events/natstest"
)

func TestMain(m *testing.M) {
	natstest.Prepare()
	m.Run()
}

// harness is [dispatchertest.Harness], with helpers of this package beside its methods.
type harness struct{ *dispatchertest.Harness }

var bubble, bubbleOf = dispatchertest.Bubbles[harness]()
