package owner_test

import (
	"testing"

	"poked/events/natstest"
)

func TestMain(m *testing.M) {
	natstest.Prepare()
	m.Run()
}
