package main

import "testing"

func breaking(t *testing.T, args ...string) result {
	t.Helper()
	return runToItsEnd(t, Poked().run, "", args...)
}
