package cli

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// A command whose reader has gone, as in "poked … | head", ends without an error. Another
// failure of its output is one.
func TestReaderOfTheOutputHasGone(t *testing.T) {
	run := func(stdout *os.File) (code int, stderr string) {
		t.Helper()
		var errs bytes.Buffer
		code = Poked().Run(t.Context(), []string{"version"}, strings.NewReader(""), stdout, &errs)
		return code, errs.String()
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	_ = reader.Close()
	if code, stderr := run(writer); code != ExitOK || stderr != "" {
		t.Errorf("nobody reads: exit code %d, %s", code, stderr)
	}
	_ = writer.Close()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	if code, stderr := run(full); code != ExitFailure || !strings.Contains(stderr, "no space left") {
		t.Errorf("a full disk: exit code %d, %s", code, stderr)
	}
}
