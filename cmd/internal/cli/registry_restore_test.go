package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"poked/events/eventstest"
)

// TestLostDatabase deletes the database of each kind of registry and restores it from NATS. A
// registry refuses to start before the restore, and starts after it.
func TestLostDatabase(t *testing.T) {
	eventstest.Long(t)
	gateway := startGateway(t)
	tokens := writeFile(t, "tokens", "alice-token @alice:example.org PHONE\n")
	_, url := startTestNATS(t)
	data := t.TempDir()
	for _, tt := range []struct {
		name, database string
		args, restore  []string
	}{
		{
			"registry", filepath.Join(data, "poked.db"),
			[]string{"registry", "--nats", url, "--database", filepath.Join(data, "poked.db"), "--ops", "127.0.0.1:0"},
			[]string{"--nats", url, "--database", filepath.Join(data, "poked.db")},
		},
		{
			"serve", filepath.Join(data, "serve", "poked.db"),
			[]string{"serve", "--data", filepath.Join(data, "serve"), "--ops", "127.0.0.1:0"},
			[]string{"--data", filepath.Join(data, "serve")},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			args := slices.Concat(tt.args, []string{"--tokens", tokens, "--http", "127.0.0.1:0", "--gateway-allow", "127.0.0.1", "--gateway-allow-http"})
			restore := append([]string{"registry", "restore", "--from-nats", "--json"}, tt.restore...)
			p, where := start(t, args...)
			setPusher(t, fmt.Sprintf("http://%s", where["http"]), gateway.url, "alice-pushkey")
			eventstest.WaitFor(t, "the pusher to be in nats", func() bool {
				_, body := get(t, fmt.Sprint(where["ops"]), "/metrics")
				return strings.Contains(body, "\npoked_outbox_rows 0\n")
			})
			if got := poked(t, "", restore...); got.Code != ExitFailure {
				t.Errorf("restored while a registry runs: %d %s", got.Code, got.Stderr)
			}
			p.terminate()
			if err := os.Remove(tt.database); err != nil {
				t.Fatal(err)
			}
			if got := poked(t, "", args...); got.Code != ExitFailure || !strings.Contains(got.Stderr, "poked registry restore --from-nats") {
				t.Errorf("without its database: exit code %d, %s", got.Code, got.Stderr)
			}
			for _, dry := range []string{"true", "false"} {
				got := poked(t, "", append(restore, "--dry-run="+dry)...)
				want := `{"users":1,"pushers":1,"users_with_rules":0,"rules":0,"vapid_key":false,"unreadable":0,"dry_run":` + dry + "}\n"
				if got.Code != ExitOK || got.Stdout != want {
					t.Errorf("restore: exit code %d, %s, %s", got.Code, got.Stdout, got.Stderr)
				}
			}
			if got := poked(t, "", restore...); got.Code != ExitFailure || !strings.Contains(got.Stderr, "move it away first") {
				t.Errorf("again: exit code %d, %s", got.Code, got.Stderr)
			}
			p, where = start(t, args...)
			if shown := getPushers(t, fmt.Sprintf("http://%s", where["http"])); !strings.Contains(shown, "alice-pushkey") {
				t.Errorf("the pusher is gone: %s", shown)
			}
			p.terminate()
		})
	}
	for _, args := range [][]string{{"--from-nats"}, {"--database", "x"}, {"--from-nats", "--database", "x", "--nats-tls-cert", "y"}} {
		if got := poked(t, "", append([]string{"registry", "restore"}, args...)...); got.Code != ExitUsage {
			t.Errorf("%v: exit code %d", args, got.Code)
		}
	}
}
