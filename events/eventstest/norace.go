//go:build !race

package eventstest

// oneAtATime is needed only with the race detector.
func oneAtATime() {}
