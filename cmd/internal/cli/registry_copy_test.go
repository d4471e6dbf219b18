package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"poked/events/eventstest"
	"poked/registry/database/pgserver"
)

// startPostgres starts a server with an empty database, and returns its URL. Without
// PostgreSQL it skips the test, or fails it in CI.
func startPostgres(t *testing.T) (*pgserver.Server, string) {
	t.Helper()
	s, err := pgserver.Start(t.Context(), pgserver.Options{})
	if errors.Is(err, pgserver.ErrMissing) && os.Getenv("CI") == "" {
		t.Skip("not tested on PostgreSQL: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err := s.Exec(t.Context(), "postgres", "CREATE DATABASE poked"); err != nil {
		t.Fatal(err)
	}
	return s, s.SocketURL("poked")
}

// TestRegistryMovesToPostgres runs a registry on SQLite, backs it up, copies it to PostgreSQL
// and goes on with two registries there.
func TestRegistryMovesToPostgres(t *testing.T) {
	eventstest.Long(t)
	t.Parallel()
	_, server := startPostgres(t)
	gateway := startGateway(t)
	_, url := startTestNATS(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "poked.db")
	args := func(database string) []string {
		return []string{
			"registry", "--nats", url, "--database", database, "--tokens", writeFile(t, "tokens", "alice-token @alice:example.org PHONE\n"),
			"--http", "127.0.0.1:0", "--ops", "127.0.0.1:0", "--gateway-allow", "127.0.0.1", "--gateway-allow-http",
		}
	}
	p, where := start(t, args(file)...)
	setPusher(t, fmt.Sprintf("http://%s", where["http"]), gateway.url, "alice-pushkey")
	backup := filepath.Join(dir, "backup.db")
	poked(t, "", "registry", "backup", "--database", file, "--to", backup).Want(t, ExitOK, "", "backed up to")
	poked(t, "", "registry", "backup", "--database", file, "--to", backup).Want(t, ExitFailure, "", "exists already")
	poked(t, "", "registry", "backup", "--database", server, "--to", backup+"2").Want(t, ExitFailure, "", "pg_dump")
	poked(t, "", "registry", "copy", "--from", file, "--to", server).Want(t, ExitFailure, "", "another registry has it open")
	poked(t, "", "registry", "copy", "--from", file, "--to", file).Want(t, ExitUsage, "", "the same database")
	poked(t, "", "registry", "copy", "--from", file, "--to", server, "--dry-run").Want(t, ExitOK, "pushers              1", "would copy")
	p.terminate()
	got := poked(t, "", "registry", "copy", "--from", file, "--to", server, "--json")
	var summary copySummary
	if err := json.Unmarshal([]byte(got.Stdout), &summary); got.Code != ExitOK || err != nil || rowsOf(summary.Tables) < 2 || summary.DryRun {
		t.Errorf("exit code %d, %s, %s", got.Code, got.Stdout, got.Stderr)
	}
	poked(t, "", "registry", "copy", "--from", file, "--to", server).Want(t, ExitFailure, "", "already contains users")
	for range 2 {
		_, where = start(t, args(server)...)
		if shown := getPushers(t, fmt.Sprintf("http://%s", where["http"])); !strings.Contains(shown, "alice-pushkey") {
			t.Errorf("the pusher is gone: %s", shown)
		}
	}
	poked(t, "", "pushers", "removed", "--database", server).Want(t, ExitOK, "", "")
}

// A PostgreSQL database that cannot be used ends the registry with one line about it.
func TestUnusableDatabase(t *testing.T) {
	_, url := startTestNATS(t)
	args := []string{"registry", "--nats", url, "--tokens", writeFile(t, "tokens", "t @a:x\n"), "--http", "127.0.0.1:0", "--ops", "127.0.0.1:0"}
	poked(t, "", append(args, "--database", "postgres://poked:SECRET@%zz/poked")...).Want(t, ExitFailure, "", "no valid URL")
	poked(t, "", append(args, "--database", "postgres://poked:SECRET@127.0.0.1:1/x", "--database-password-file", "missing")...).
		Want(t, ExitFailure, "", "read password")
}
