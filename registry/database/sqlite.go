package database

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"github.com/jmoiron/sqlx"
	"github.com/pressly/goose/v3"
)

// readers is how many reads of a SQLite file may run at once.
const readers = 4

func (d *DB) openFile(ctx context.Context, path string, _ Options) (err error) {
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
	if d.file, err = lockFile(path + ".lock"); err != nil {
		return err
	}
	d.write, err = sqlx.Open("sqlite3", dsn(path, url.Values{
		"_journal_mode": {"WAL"},
		"_synchronous":  {"FULL"}, // the default for WAL could lose commits in a power cut
		"_foreign_keys": {"on"},
		"_busy_timeout": {"5000"}, // in case an operator uses sqlite3 at the same time
		"_txlock":       {"immediate"},
	}))
	if err != nil {
		return err
	}
	d.write.SetMaxOpenConns(1)
	if err := migrate(ctx, d.write.DB, goose.DialectSQLite3, "sqlite"); err != nil {
		return err
	}
	d.read, err = sqlx.Open("sqlite3", dsn(path, url.Values{"_query_only": {"on"}, "_busy_timeout": {"5000"}}))
	if err != nil {
		return err
	}
	d.read.SetMaxOpenConns(readers)
	d.read.SetMaxIdleConns(readers)
	return nil
}

func (d *DB) openFileReader(_ context.Context, path string, _ Options) (err error) {
	if _, err := os.Stat(path); err != nil {
		return err
	}
	d.read, err = sqlx.Open("sqlite3", dsn(path, url.Values{"mode": {"ro"}, "_busy_timeout": {"5000"}}))
	return err
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

// viewOptions are the options of a read transaction.
func (d *DB) viewOptions() *sql.TxOptions {
	if !d.Shared() {
		return nil // of SQLite each reads one state
	}
	return &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}
}
