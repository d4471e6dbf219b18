package database

import (
	"testing"

	"poked/events/eventstest"
)

func TestMain(m *testing.M) {
	eventstest.Cheap()
	m.Run()
}
