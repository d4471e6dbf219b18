package natstest

import "poked/events/eventstest"

// Prepare makes a test process ready for bubbles: it keeps nats-server from starting
// its process-wide clock, whose goroutine no bubble could wait for, and from reporting its
// load, and the race detector from crashing. Tests run on one processor, unless GOMAXPROCS is
// set, and are [eventstest.Cheap].
func Prepare() {
	eventstest.Cheap()
	fakeClock()
	oneAtATime()
}
