package match

import (
	"testing"

	"poked/events/eventstest"
)

func TestMain(m *testing.M) {
	eventstest.Prepare()
	m.Run()
}
