package eventstest

import (
	"os"
	"testing"
)

// Soak skips a test that is a target of its own, since it takes long, measures, or does what another
// test does with more, unless POKED_SOAK is set. .ci/run names each such target.
func Soak(t testing.TB) {
	t.Helper()
	if !Soaking() {
		t.Skip("a target of its own: set POKED_SOAK=1 to run it")
	}
}

// Soaking reports whether POKED_SOAK is set: tests that repeat something do it more often then.
func Soaking() bool { return os.Getenv("POKED_SOAK") != "" }

// Long skips a test that takes seconds under -short.
func Long(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("it takes seconds: run it without -short")
	}
}
