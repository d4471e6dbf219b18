package cli

import (
	"encoding/json"
	"runtime"
	"strings"
	"testing"

	"poked/cmd/internal/node"
)

func TestVersion(t *testing.T) {
	text := poked(t, "", "version")
	if text.Code != ExitOK || strings.Count(text.Stdout, "\n") != 1 || !strings.Contains(text.Stdout, runtime.Version()) {
		t.Errorf("version: exit code %d, %q", text.Code, text.Stdout)
	}
	var v node.Version
	if err := json.Unmarshal([]byte(poked(t, "", "version", "--json").Stdout), &v); err != nil {
		t.Fatal(err)
	}
	if v.Go != runtime.Version() || !strings.HasPrefix(v.NATS, "v2.") || v.Version == "" {
		t.Errorf("version --json: %+v", v)
	}
}
