package cli

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"

	"poked/events/eventstest"
)

// An interrupted demo stops at once, reports that and leaves no files behind.
func TestDemoStops(t *testing.T) {
	eventstest.Long(t)
	t.Setenv("TMPDIR", t.TempDir())
	ctx, interrupt := context.WithCancel(t.Context())
	var stderr bytes.Buffer
	code := Poked().Run(ctx, []string{"demo", "--rate=1"}, strings.NewReader(""), onWrite(interrupt), &stderr)
	if code != ExitFailure || !strings.Contains(stderr.String(), "stopped before every poke was there") {
		t.Errorf("exit code %d, standard error %q", code, &stderr)
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// onWrite is a writer that calls the function for each write.
type onWrite func()

func (f onWrite) Write(p []byte) (int, error) {
	f()
	return len(p), nil
}
