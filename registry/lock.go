package registry

import (
	"context"
	"database/sql"
	"errors"
	"net/url"

	"github.com/mattn/go-sqlite3"
)

// errInUse says that another registry works on the database.
var errInUse = errors.New("another registry has it open")

// fileLock keeps a second registry out, whose outbox could tell NATS an old state
// after ours told a newer one. It is a transaction on an empty database that is
// never ended: the system drops its lock with the process, however that ends.
type fileLock struct {
	db   *sql.DB
	conn *sql.Conn
}

func lockFile(ctx context.Context, path string) (*fileLock, error) {
	if err := createPrivate(path); err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite3", dsn(path, url.Values{"_busy_timeout": {"0"}, "_journal_mode": {"OFF"}}))
	if err != nil {
		return nil, err
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, errors.Join(lockError(err), db.Close())
	}
	lock := &fileLock{db: db, conn: conn}
	if _, err := conn.ExecContext(ctx, "BEGIN EXCLUSIVE"); err != nil {
		return nil, errors.Join(lockError(err), lock.close())
	}
	return lock, nil
}

func lockError(err error) error {
	var busy sqlite3.Error
	if errors.As(err, &busy) && busy.Code == sqlite3.ErrBusy {
		return errInUse
	}
	return err
}

func (l *fileLock) close() error { return errors.Join(l.conn.Close(), l.db.Close()) }
