package main

import "testing"

func lab(t *testing.T, args ...string) result {
	t.Helper()
	return runToItsEnd(t, Poked().run, "", args...)
}
