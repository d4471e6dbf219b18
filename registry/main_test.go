package registry

import (
	"flag"
	"testing"
)

// TestMain has more tests run beside each other than there are processors: each
// waits a second for its NATS and works for a fraction of it.
func TestMain(m *testing.M) {
	_ = flag.Set("test.parallel", "16") // the command line, read later, has the last word
	m.Run()
}
