package eventstest

import (
	"os"
	"testing"
)

// Soak skips a test that takes minutes unless POKED_SOAK is set, as .ci/run does.
func Soak(t testing.TB) {
	t.Helper()
	if os.Getenv("POKED_SOAK") == "" {
		t.Skip("a soak of minutes: set POKED_SOAK=1 to run it")
	}
}

// Long skips a test that takes seconds under -short.
func Long(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("it takes seconds: run it without -short")
	}
}
