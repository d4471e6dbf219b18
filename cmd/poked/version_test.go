package main

import (
	"encoding/json"
	"runtime"
	"strings"
	"testing"
)

func TestVersion(t *testing.T) {
	text := poked(t, "", "version")
	if text.code != exitOK || strings.Count(text.stdout, "\n") != 1 || !strings.Contains(text.stdout, runtime.Version()) {
		t.Errorf("version: exit code %d, %q", text.code, text.stdout)
	}
	var v version
	if err := json.Unmarshal([]byte(poked(t, "", "version", "--json").stdout), &v); err != nil {
		t.Fatal(err)
	}
	if v.Go != runtime.Version() || !strings.HasPrefix(v.NATS, "v2.") || v.Version == "" {
		t.Errorf("version --json: %+v", v)
	}
}
