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

// The version, the manual page and completions need no subcommand.
func TestProgramDescribesItself(t *testing.T) {
	if got := poked(t, "", "--version"); got.Code != ExitOK || got.Stdout != poked(t, "", "version").Stdout {
		t.Errorf("--version: %+v", got)
	}
	man := poked(t, "", "--man")
	man.Want(t, ExitOK, ".TH POKED 1", "")
	for _, want := range []string{"dispatcher", "--gateway"} {
		if !strings.Contains(strings.ReplaceAll(man.Stdout, `\-`, "-"), want) {
			t.Errorf("the manual page lacks %s", want)
		}
	}
	for line, want := range map[string]string{"poked disp": "dispatcher\n", "poked pushers list --gate": "--gateway\n", "poked dead ": "drop\n"} {
		t.Setenv("COMP_LINE", line)
		if got := poked(t, ""); got.Code != ExitOK || !strings.Contains(got.Stdout, want) {
			t.Errorf("completions of %q: %+v", line, got)
		}
	}
}
