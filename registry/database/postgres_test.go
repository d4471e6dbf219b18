package database

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"poked/events/eventstest"
	"poked/registry/database/pgserver"
	"poked/schema"
)

// startServer starts a PostgreSQL server for a test. Without PostgreSQL it skips the test,
// or fails it in CI.
func startServer(t *testing.T, o pgserver.Options) *pgserver.Server {
	t.Helper()
	eventstest.Long(t)
	s, err := pgserver.Start(t.Context(), o)
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
	return s
}

func sqlOn(t *testing.T, s *pgserver.Server, database, statements string) {
	t.Helper()
	if err := s.Exec(t.Context(), database, statements); err != nil {
		t.Fatal(err)
	}
}

// TestPostgres runs all tests on one server, since it takes a second to start.
func TestPostgres(t *testing.T) {
	s := startServer(t, pgserver.Options{InitArgs: []string{"--auth-host=scram-sha-256"}})
	sqlOn(t, s, "postgres", "CREATE DATABASE poked")
	address := s.SocketURL("poked")
	t.Run("opened by several at once", func(t *testing.T) { openedAtOnce(t, address) })
	t.Run("what cannot be used", func(t *testing.T) { refused(t, s) })
	t.Run("password", func(t *testing.T) { passwords(t, s) })
	t.Run("tls", func(t *testing.T) { encrypted(t, s) })
	t.Run("hold", func(t *testing.T) { holds(t, s, address) })
	t.Run("lead", func(t *testing.T) { leads(t, s) })
	t.Run("waiting", func(t *testing.T) { // at the same time, each in a database of its own
		sqlOn(t, s, "postgres", "CREATE DATABASE other")
		t.Run("paused in a transaction", func(t *testing.T) { t.Parallel(); pausedInTransaction(t, address) })
		t.Run("changes lock each other out", func(t *testing.T) { t.Parallel(); collisions(t, s.SocketURL("other")) })
	})
	t.Run("exclusive", func(t *testing.T) { exclusive(t, s) })
	t.Run("restarted", func(t *testing.T) { restarted(t, s, address) })
}

// Registries that start at the same time migrate an empty database once.
func openedAtOnce(t *testing.T, address string) {
	migrations, err := fs.Glob(schema.Files(), "migrations/postgres/*.sql")
	if err != nil || len(migrations) == 0 {
		t.Fatal(migrations, err)
	}
	var newest int
	if _, err := fmt.Sscanf(path.Base(migrations[len(migrations)-1]), "%d_", &newest); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range 6 {
		group.Go(func() {
			d, err := Open(t.Context(), address, Options{})
			if err != nil {
				t.Error(err)
				return
			}
			var version int
			if err := d.Get(t.Context(), &version, "SELECT max(version_id) FROM goose_db_version"); err != nil || version != newest {
				t.Errorf("version %d (%v), want %d", version, err, newest)
			}
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
}

// A database that cannot be used is refused with the reason, and one that may come back is
// told apart.
func refused(t *testing.T, s *pgserver.Server) {
	sqlOn(t, s, "postgres", "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
	sqlOn(t, s, "postgres", "CREATE DATABASE newer TEMPLATE poked")
	sqlOn(t, s, "newer", "INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, true)")
	sqlOn(t, s, "postgres", "CREATE DATABASE readonly TEMPLATE poked")
	sqlOn(t, s, "postgres", "ALTER DATABASE readonly SET default_transaction_read_only = on")
	for address, want := range map[string]struct {
		text string
		away bool
	}{
		s.SocketURL("latin"):                                             {"encoding LATIN1", false},
		s.SocketURL("newer"):                                             {"schema version 99", false},
		s.SocketURL("nothing"):                                           {"does not exist", false},
		s.SocketURL("readonly"):                                          {"read only", true},
		"postgres://poked@127.0.0.1:1/poked":                             {"refused", true},
		"postgres://poked:secret%zz@x/poked":                             {"no valid URL", false},
		"postgres://poked:secret@127.0.0.1:1/poked?sslmode=odd":          {"no valid URL", false},
		s.URL("poked"):                                                   {"password", false},
		"postgres://poked:secret@" + s.Host() + "/poked?sslmode=disable": {"password authentication failed", false},
	} {
		if err := Check(address, Options{}); (err != nil) != (want.text == "no valid URL") {
			t.Errorf("check of %s: %v", Redact(address), err)
		}
		d, err := Open(t.Context(), address, Options{})
		if err == nil {
			t.Errorf("%s was opened", address)
			_ = d.Close()
			continue
		}
		if !strings.Contains(err.Error(), want.text) || errors.Is(err, ErrAway) != want.away || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want %q, away %v", Redact(address), err, want.text, want.away)
		}
	}
	for version, tooOld := range map[string]bool{"13.14 (Debian 13.14-0+deb11u1)": true, "9.6.24": true, "14.1": false, "17beta1": false, "110.1": false} {
		if got := leadingNumber(version) < minVersion; got != tooOld {
			t.Errorf("%s: too old %v", version, got)
		}
	}
}

// The password may be in a file, which may change while the database is open, and in
// PGPASSFILE.
func passwords(t *testing.T, s *pgserver.Server) {
	sqlOn(t, s, "postgres", "ALTER USER poked PASSWORD 'one'")
	path := filepath.Join(t.TempDir(), "password")
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("one\r\nnot this\n")
	d, err := Open(t.Context(), s.URL("poked"), Options{PasswordFile: path})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	sqlOn(t, s, "postgres", "ALTER USER poked PASSWORD 'two'; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'poked registry'")
	write("two")
	eventstest.WaitFor(t, "a connection with the new password", func() bool { return d.Exec(t.Context(), "SELECT 1") == nil })
	write("\n")
	if _, err := Open(t.Context(), s.URL("poked"), Options{PasswordFile: path}); err == nil || !strings.Contains(err.Error(), "is empty") {
		t.Errorf("with an empty file: %v", err)
	}
	write("127.0.0.1:*:poked:poked:two\n")
	t.Setenv("PGPASSFILE", path)
	fromFile, err := Open(t.Context(), s.URL("poked"), Options{})
	if err != nil {
		t.Fatalf("with PGPASSFILE: %v", err)
	}
	_ = fromFile.Close()
}

// openTwo opens the database twice.
func openTwo(t *testing.T, address string) (a, b *DB) {
	t.Helper()
	for _, d := range []**DB{&a, &b} {
		var err error
		if *d, err = Open(t.Context(), address, Options{}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = (*d).Close() })
	}
	return a, b
}

// killHolders ends the sessions that hold a name, as a server does whose process is gone.
const killHolders = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ExclusiveLock' AND granted"

// Two processes never hold a name at once, and what is changed under a name that was lost
// does not commit.
func holds(t *testing.T, s *pgserver.Server, address string) {
	a, b := openTwo(t, address)
	held, release, err := a.Hold(t.Context(), "alice")
	if err != nil {
		t.Fatal(err)
	}
	_, other, err := b.Hold(t.Context(), "bob")
	if err != nil {
		t.Fatalf("another name: %v", err)
	}
	other()
	second := make(chan error, 1)
	go func() {
		_, release, err := b.Hold(t.Context(), "alice")
		if err == nil {
			defer release()
		}
		second <- err
	}()
	change := func(ctx context.Context, user string) error {
		return a.Update(ctx, func(tx *Tx) error {
			_, err := tx.ExecContext(ctx, "INSERT INTO users (user_id, version) VALUES (?, 1)", user)
			return err
		})
	}
	if err := change(held, "@held:x"); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-second:
		t.Fatalf("held twice (%v)", err)
	default:
	}
	sqlOn(t, s, "poked", killHolders)
	if err := <-second; err != nil {
		t.Fatalf("after the first is gone: %v", err)
	}
	if err := change(held, "@lost:x"); !errors.Is(err, ErrAway) {
		t.Errorf("a change under a lost name: %v", err)
	}
	release()
	var n int
	if err := b.Get(t.Context(), &n, "SELECT count(*) FROM users WHERE user_id IN ('@held:x', '@lost:x')"); err != nil || n != 1 {
		t.Errorf("%d changes (%v), want the one under the name", n, err)
	}
}

// One process leads at a time, and another follows it, also if the server has not seen yet that
// the connection of the first is closed.
func leads(t *testing.T, s *pgserver.Server) {
	a, b := openTwo(t, lateCloses(t, s, "poked"))
	var mu sync.Mutex
	leading, began := 0, 0
	ctx, stop := context.WithCancel(t.Context())
	var group sync.WaitGroup
	for _, d := range []*DB{a, b} {
		group.Go(func() {
			_ = d.Lead(ctx, "test", func(ctx context.Context) error {
				mu.Lock()
				leading++
				began++
				if leading > 1 {
					t.Error("two lead")
				}
				mu.Unlock()
				<-ctx.Done()
				mu.Lock()
				leading--
				mu.Unlock()
				return nil
			})
		})
	}
	count := func(n int) func() bool {
		return func() bool { mu.Lock(); defer mu.Unlock(); return began == n }
	}
	eventstest.WaitFor(t, "one to lead", count(1))
	if done, err := b.Alone(t.Context(), "test", func(context.Context) error { return nil }); done || err != nil {
		t.Errorf("done beside the one that leads: %v %v", done, err)
	}
	stop()
	group.Wait()
	for range 3 {
		if done, err := b.Alone(t.Context(), "test", func(context.Context) error { return nil }); !done || err != nil {
			t.Fatalf("after whoever held the name has ended: done %v, %v", done, err)
		}
	}
}

// A process that is paused in a transaction does not hold up the others.
func pausedInTransaction(t *testing.T, address string) {
	a, b := openTwo(t, address)
	locked, resume := make(chan struct{}), make(chan struct{})
	paused := make(chan error, 1)
	go func() {
		paused <- a.Update(t.Context(), func(tx *Tx) error {
			if err := tx.Lock(t.Context(), "alice"); err != nil {
				return err
			}
			close(locked)
			<-resume
			return nil
		})
	}()
	<-locked
	began := time.Now()
	if err := b.Update(t.Context(), func(tx *Tx) error { return tx.Lock(t.Context(), "alice") }); err != nil {
		t.Errorf("the other: %v", err)
	}
	if took := time.Since(began); took > transactionTimeout+3*time.Second {
		t.Errorf("the other waited %s", took)
	}
	close(resume)
	if err := <-paused; !errors.Is(err, ErrAway) {
		t.Errorf("the paused one: %v", err)
	}
}

// Changes that wait for each other are repeated until each has been made.
func collisions(t *testing.T, address string) {
	a, b := openTwo(t, address)
	sqlUsers := "INSERT INTO users (user_id, version) VALUES ('@1:x', 0), ('@2:x', 0)"
	if err := a.Exec(t.Context(), sqlUsers); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for n, d := range []*DB{a, b, a, b} {
		group.Go(func() {
			for range 5 {
				err := d.Update(t.Context(), func(tx *Tx) error {
					for _, user := range []int{1 + n%2, 2 - n%2} {
						if _, err := tx.ExecContext(t.Context(), "UPDATE users SET version = version + 1 WHERE user_id = ?", fmt.Sprintf("@%d:x", user)); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	var versions []int
	if err := a.Select(t.Context(), &versions, "SELECT version FROM users WHERE user_id IN ('@1:x', '@2:x')"); err != nil || versions[0] != 20 || versions[1] != 20 {
		t.Errorf("versions %v (%v), want 20 each", versions, err)
	}
}

// A program that needs the database for itself gets it only if no registry has it open, and
// keeps registries waiting meanwhile. What is closed has it open no longer, also if the server
// has not seen yet that its connections are closed.
func exclusive(t *testing.T, s *pgserver.Server) {
	address := lateCloses(t, s, "poked")
	a, b := openTwo(t, address)
	if _, err := Open(t.Context(), address, Options{Exclusive: true}); !errors.Is(err, ErrInUse) {
		t.Errorf("beside two registries: %v", err)
	}
	_ = a.Close()
	_ = b.Close()
	for range 3 {
		alone, err := Open(t.Context(), address, Options{Exclusive: true})
		if err != nil {
			t.Fatalf("once they are closed: %v", err)
		}
		if _, err := Open(t.Context(), address, Options{}); !errors.Is(err, ErrAway) || !strings.Contains(err.Error(), "for itself") {
			t.Errorf("a registry beside it: %v", err)
		}
		_ = alone.Close()
	}
}

// While the server is away operations fail with ErrAway; after that they work again, and the
// epoch is another.
func restarted(t *testing.T, s *pgserver.Server, address string) {
	a, _ := openTwo(t, address)
	epoch := func() (epoch string, err error) {
		err = a.View(t.Context(), func(tx *Tx) error { epoch, err = tx.Epoch(t.Context()); return err })
		return epoch, err
	}
	before, err := epoch()
	if err != nil {
		t.Fatal(err)
	}
	s.Kill()
	for range 3 {
		if _, err := epoch(); !errors.Is(err, ErrAway) {
			t.Errorf("a read: %v", err)
		}
		if err := a.Update(t.Context(), func(*Tx) error { return nil }); !errors.Is(err, ErrAway) {
			t.Errorf("a change: %v", err)
		}
	}
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after, err := epoch(); err != nil || after == before {
		t.Errorf("epoch %q (%v) after a restart, %q before", after, err, before)
	}
	eventstest.WaitFor(t, "it to be known again that the database is in use", func() bool {
		alone, err := Open(t.Context(), address, Options{Exclusive: true})
		if err == nil {
			_ = alone.Close()
		}
		return errors.Is(err, ErrInUse)
	})
}
