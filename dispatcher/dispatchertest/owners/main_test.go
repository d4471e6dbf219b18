// Package owners_test tests whole dispatchers in fake time: who owns a partition, the faults of
// each hand-off, and what is stored.
package owners_test

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

// instance is a dispatcher from its start to its end.
type instance = dispatchertest.Instance

var bubble, bubbleOf = dispatchertest.Bubbles[harness]()
