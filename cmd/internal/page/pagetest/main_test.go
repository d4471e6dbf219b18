// Package pagetest_test tests the page in a browser and over HTTP, as a running process serves it.
// It stands apart, so that what the page is part of is not compiled a second time for it.
package pagetest_test

import (
	"os"
	"testing"

	"poked/events/eventstest"
	"poked/events/natstest"
)

// inBubbles is an environment variable that makes this a process for tests in bubbles of fake time.
const inBubbles = "POKED_TEST_IN_BUBBLES"

func TestMain(m *testing.M) {
	if os.Getenv(inBubbles) != "" {
		natstest.Prepare()
	} else {
		eventstest.Cheap()
	}
	m.Run()
}
