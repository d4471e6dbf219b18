package database

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"github.com/jmoiron/sqlx"
)

// ErrServer reports that an operation is for files alone.
var ErrServer = errors.New("it is for SQLite: back up PostgreSQL with pg_dump or pg_basebackup")

// Backup writes a copy of the SQLite file at path to a new file, while a registry may write
// to it. The copy is one consistent state, with all that was committed when the backup
// began. It is checked, synced to disk and renamed before Backup returns nil.
func Backup(ctx context.Context, path, to string) (err error) {
	if IsServer(path) || IsServer(to) {
		return ErrServer
	}
	if _, err := os.Stat(to); err == nil {
		return fmt.Errorf("write backup: %s exists already", to)
	}
	d, err := OpenReader(ctx, path, Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	partial := to + ".partial"
	if err := os.Remove(partial); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the rest of an earlier backup: %w", err)
	}
	if err := createPrivate(partial); err != nil {
		return fmt.Errorf("write backup: %w", err)
	}
	if _, err := d.read.ExecContext(ctx, "VACUUM INTO ?", partial); err != nil {
		return errors.Join(asAway(fmt.Errorf("write backup: %w", err)), os.Remove(partial))
	}
	if err := checkFile(ctx, partial); err != nil {
		return errors.Join(fmt.Errorf("check backup: %w", err), os.Remove(partial))
	}
	if err := errors.Join(syncFile(partial), os.Rename(partial, to), syncFile(filepath.Dir(to))); err != nil {
		return fmt.Errorf("write backup: %w", err)
	}
	return nil
}

// checkFile reports what is wrong with a SQLite file.
func checkFile(ctx context.Context, path string) (err error) {
	db, err := sqlx.Open("sqlite3", dsn(path, url.Values{"mode": {"ro"}}))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var result string
	if err := db.GetContext(ctx, &result, "PRAGMA integrity_check(1)"); err != nil {
		return err
	}
	if result != "ok" {
		return errors.New(result)
	}
	return nil
}

func syncFile(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}
