package dispatcher_test

import (
	"testing"

	"poked/dispatcher/dispatchertest"
	"poked/events/eventstest"
)

func TestMain(m *testing.M) {
	eventstest.Prepare()
	m.Run()
}

// harness is [dispatchertest.Harness], with helpers of this package beside its methods.
type harness struct{ *dispatchertest.Harness }

// bubble is [dispatchertest.Bubble].
func bubble(t *testing.T, test func(t *testing.T, h *harness)) {
	t.Helper()
	dispatchertest.Bubble(t, func(t *testing.T, h *dispatchertest.Harness) { t.Helper(); test(t, &harness{h}) })
}

// bubbleOf is [dispatchertest.BubbleOf].
func bubbleOf(t *testing.T, partitions int, test func(t *testing.T, h *harness)) {
	t.Helper()
	dispatchertest.BubbleOf(t, partitions, func(t *testing.T, h *dispatchertest.Harness) { t.Helper(); test(t, &harness{h}) })
}
