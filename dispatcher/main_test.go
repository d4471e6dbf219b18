package dispatcher_test

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
