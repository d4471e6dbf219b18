package page_test

import (
	"testing"

	"poked/events/eventstest"
)

func TestMain(m *testing.M) {
	eventstest.Cheap()
	m.Run()
}
