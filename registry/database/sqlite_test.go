package database

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jmoiron/sqlx"
	"github.com/pressly/goose/v3"

	"poked/schema"
)

const alice = "@alice:example.org"

func openTest(t *testing.T, path string) *DB {
	t.Helper()
	s, err := Open(t.Context(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// TestDatabaseFiles checks that every file is readable only by its owner, also one that
// was not, and that the name of the database is used literally.
func TestDatabaseFiles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "odd name?_journal_mode=off#%41.db")
	if err := os.WriteFile(path, nil, 0o644); err != nil { // readable by all on purpose
		t.Fatal(err)
	}
	s := openTest(t, path)
	if err := s.Exec(t.Context(), "INSERT INTO users (user_id, version) VALUES (?, 1)", alice); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"", "-wal", "-shm", ".lock"} {
		info, err := os.Stat(path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != 0o600 {
			t.Errorf("%s has mode %s", info.Name(), info.Mode())
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 4 {
		t.Errorf("files: %v %v", entries, err)
	}
}

// TestSymlinkedDatabase opens a database through a symbolic link: its other files are
// next to the real file, they become readable only by their owner, and a second
// registry cannot open the database by its real name meanwhile.
func TestSymlinkedDatabase(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	path, link := filepath.Join(elsewhere, "real.db"), filepath.Join(dir, "poked.db")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.WriteFile(path+suffix, nil, 0o644); err != nil { // readable by all on purpose
			t.Fatal(err)
		}
	}
	s := openTest(t, link)
	if err := s.Exec(t.Context(), "INSERT INTO users (user_id, version) VALUES (?, 1)", alice); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"", "-wal", "-shm", ".lock"} {
		info, err := os.Stat(path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != 0o600 {
			t.Errorf("%s has mode %s", info.Name(), info.Mode())
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("files beside the link: %v %v", entries, err)
	}
	if second, err := Open(t.Context(), path, Options{}); !errors.Is(err, ErrInUse) {
		t.Errorf("opened a second time under its own name: %v", err)
		_ = second.Close()
	}
}

func TestDatabaseSettings(t *testing.T) {
	s := openTest(t, filepath.Join(t.TempDir(), "poked.db"))
	for _, c := range []struct {
		db           *sqlx.DB
		pragma, want string
	}{
		{s.write, "journal_mode", "wal"},
		{s.write, "synchronous", "2"}, // FULL
		{s.write, "foreign_keys", "1"},
		{s.write, "busy_timeout", "5000"},
		{s.read, "query_only", "1"},
		{s.read, "busy_timeout", "5000"},
	} {
		var got string
		if err := c.db.Get(&got, "PRAGMA "+c.pragma); err != nil || got != c.want {
			t.Errorf("%s is %s, want %s (%v)", c.pragma, got, c.want, err)
		}
	}
	if _, err := s.write.Exec("INSERT INTO outbox (user_id) VALUES ('nobody')"); err == nil {
		t.Error("foreign keys are not checked")
	}
}

// TestOlderDatabaseIsBroughtUp opens a database of a version without push rules.
func TestOlderDatabaseIsBroughtUp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "poked.db")
	s := openTest(t, path)
	migrations, err := fs.Sub(schema.Files(), "migrations/sqlite")
	if err != nil {
		t.Fatal(err)
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, s.write.DB, migrations, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := provider.DownTo(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	s.write.MustExec(`INSERT INTO users VALUES ('` + alice + `', 3);
		INSERT INTO pushers VALUES (1, '` + alice + `', 'a', 'k', 'http', '', '', '', '', '{}', '', 7);
		INSERT INTO outbox (user_id) VALUES ('` + alice + `')`)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, path)
	var pending []string
	if err := s.Select(t.Context(), &pending, "SELECT bucket || user_id || origin FROM outbox"); err != nil || len(pending) != 1 || pending[0] != "PUSHERS"+alice {
		t.Errorf("pending %q (%v)", pending, err)
	}
	var disabled bool
	if err := s.Get(t.Context(), &disabled, "SELECT disabled FROM pushers WHERE user_id = ?", alice); err != nil || disabled {
		t.Errorf("disabled %v (%v)", disabled, err)
	}
}

func TestNewerDatabaseIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "poked.db")
	s := openTest(t, path)
	if _, err := s.write.Exec("INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, 1)"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), path, Options{})
	if err == nil || !strings.Contains(err.Error(), "schema version 99") || !strings.Contains(err.Error(), path) {
		t.Errorf("%v, want a sentence about version 99 of %s", err, path)
	}
}

func TestOtherFileIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "letter.txt")
	content := strings.Repeat("Dear reader, ", 100)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), path, Options{}); err == nil || !strings.Contains(err.Error(), "not a database") {
		t.Errorf("error %v", err)
	}
	if after, err := os.ReadFile(path); err != nil || string(after) != content {
		t.Errorf("the file was changed: %v", err)
	}
}

func TestSecondRegistryIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "poked.db")
	first := openTest(t, path)
	if _, err := Open(t.Context(), path, Options{}); !errors.Is(err, ErrInUse) {
		t.Errorf("while the first is open: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	openTest(t, path)
}
