package registry

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"
	"github.com/jmoiron/sqlx"
	"github.com/pressly/goose/v3"

	"poked/schema"
)

// readers is how many reads of the database may run at once.
const readers = 4

// store is the registry's database. Each exported method owns its transaction and passes
// it to the functions it calls.
type store struct {
	write *sqlx.DB // one connection, so that writers queue in order and not on SQLite's lock
	read  *sqlx.DB
	lock  *flock.Flock

	maxPushers int
	trouble    storeTrouble
	// pending wakes the outbox when it has new rows.
	pending chan struct{}
}

// openStore opens the database at path, creating it if missing, and migrates it to the
// newest schema.
func openStore(ctx context.Context, path string, maxPushers int) (*store, error) {
	s := &store{maxPushers: maxPushers, pending: make(chan struct{}, 1)}
	if err := s.open(ctx, path); err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s: %w", path, asAway(err)), s.Close())
	}
	return s, nil
}

func (s *store) open(ctx context.Context, path string) (err error) {
	if err := createPrivate(path); err != nil {
		return err
	}
	// Like SQLite's own files, the lock is next to the real file, so that the database is
	// locked under all its names.
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return err
	}
	if err := closePrivate(path+"-wal", path+"-shm", path+"-journal", path+".lock"); err != nil {
		return err
	}
	if s.lock, err = lockFile(path + ".lock"); err != nil {
		return err
	}
	s.write, err = sqlx.Open("sqlite3", dsn(path, url.Values{
		"_journal_mode": {"WAL"},
		"_synchronous":  {"FULL"}, // the default for WAL could lose commits in a power cut
		"_foreign_keys": {"on"},
		"_busy_timeout": {"5000"}, // in case an operator uses sqlite3 at the same time
		"_txlock":       {"immediate"},
	}))
	if err != nil {
		return err
	}
	s.write.SetMaxOpenConns(1)
	if err := migrate(ctx, s.write.DB); err != nil {
		return err
	}
	s.read, err = sqlx.Open("sqlite3", dsn(path, url.Values{"_query_only": {"on"}, "_busy_timeout": {"5000"}}))
	if err != nil {
		return err
	}
	s.read.SetMaxOpenConns(readers)
	s.read.SetMaxIdleConns(readers)
	return nil
}

// createPrivate creates the file if it is missing and sets its mode to 0600. SQLite gives
// its other files the same mode.
func createPrivate(path string) error {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(file.Chmod(0o600), file.Close())
}

// closePrivate sets the mode of existing files to 0600. They may be left from a time when
// the database had another mode.
func closePrivate(paths ...string) error {
	for _, path := range paths {
		if err := os.Chmod(path, 0o600); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func dsn(path string, params url.Values) string {
	u := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: params.Encode()}
	return u.String()
}

// migrate brings the database to the newest schema. It refuses a database with a newer
// one.
func migrate(ctx context.Context, db *sql.DB) error {
	migrations, err := fs.Sub(schema.Files(), "migrations")
	if err != nil {
		return fmt.Errorf("find migrations: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, migrations, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	have, newest, err := provider.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("read schema version: %w", err)
	}
	if have > newest {
		return fmt.Errorf("it has schema version %d, but this program supports versions up to %d: run the newer program", have, newest)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}

// update runs change in a transaction and, if it commits, wakes the outbox. Only one runs
// at a time, which withClaim relies on.
func (s *store) update(ctx context.Context, change func(*sqlx.Tx) error) error {
	if err := s.commit(ctx, change); err != nil {
		return err
	}
	wake(s.pending)
	return nil
}

// commit runs change in a transaction, and records whether the database can be written.
func (s *store) commit(ctx context.Context, change func(*sqlx.Tx) error) error {
	err := asAway(s.transact(ctx, change))
	s.trouble.note(err)
	return err
}

func (s *store) transact(ctx context.Context, change func(*sqlx.Tx) error) error {
	tx, err := s.write.BeginTxx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // does nothing after the commit
	if err := checkClaim(ctx); err != nil {
		return err
	}
	if err := change(tx); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// view runs look in a read transaction, on one consistent state of the database.
func (s *store) view(ctx context.Context, look func(*sqlx.Tx) error) error {
	tx, err := s.read.BeginTxx(ctx, nil)
	if err != nil {
		return asAway(fmt.Errorf("begin: %w", err))
	}
	defer func() { _ = tx.Rollback() }() // nothing to commit
	return asAway(look(tx))
}

// wake sends a wake-up unless one is already pending.
func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Close closes the database and releases its lock.
func (s *store) Close() error {
	var errs []error
	for _, db := range []*sqlx.DB{s.read, s.write} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close database: %w", err)
	}
	return nil
}
