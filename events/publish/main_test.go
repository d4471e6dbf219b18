package publish_test

import (
	"testing"

	"poked/events/eventstest"
)

func TestMain(m *testing.M) {
	eventstest.Prepare()
	m.Run()
}
