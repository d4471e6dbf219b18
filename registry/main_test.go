package registry

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"poked/events/eventstest"
)

// TestMain runs more tests in parallel than there are processors: each waits a second
// for its NATS and then needs little CPU time.
func TestMain(m *testing.M) {
	_ = flag.Set("test.parallel", "16") // a flag on the command line overrides it
	eventstest.Cheap()
	m.Run()
	if err := postgres.stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}
