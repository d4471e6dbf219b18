//go:build !race

package eventstest

// oneAtATime is for the race detector.
func oneAtATime() {}
