package stream_test

import "poked/events/eventstest"

const room = eventstest.Room
