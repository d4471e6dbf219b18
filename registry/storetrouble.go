package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/mattn/go-sqlite3"

	"poked/events/wait"
)

const (
	// probeInterval is how often the registry tests whether the database can be written.
	probeInterval = 5 * time.Second
	// retryStore is the Retry-After while it cannot.
	retryStore = 10 * time.Second
)

// ErrStoreAway reports that the database cannot be used temporarily: the disk is full, no
// file descriptor is left, or another program holds a lock.
var ErrStoreAway = errors.New("the database cannot be used at the moment")

// asAway wraps err in [ErrStoreAway] if the cause may be temporary.
func asAway(err error) error {
	var known sqlite3.Error
	if !errors.As(err, &known) || errors.Is(err, ErrStoreAway) {
		return err
	}
	switch known.Code {
	case sqlite3.ErrFull, sqlite3.ErrBusy, sqlite3.ErrLocked, sqlite3.ErrIoErr, sqlite3.ErrCantOpen, sqlite3.ErrNomem:
		return fmt.Errorf("%w: %w", ErrStoreAway, err)
	}
	return err
}

// storeTrouble holds the reason why the last write to the database failed. The zero value
// means that it succeeded.
type storeTrouble struct{ why atomic.Pointer[string] }

// note records the result of a write. A violated constraint is the fault of the request,
// not of the database.
func (t *storeTrouble) note(err error) {
	var known sqlite3.Error
	switch {
	case err == nil && t.why.Load() != nil:
		t.why.Store(nil)
	case errors.As(err, &known) && known.Code != sqlite3.ErrConstraint:
		t.why.Store(new("the database cannot be written: " + err.Error()))
	}
}

// probe tests at intervals until ctx ends whether the database can be written, so that
// readiness does not depend on clients' requests.
func (s *store) probe(ctx context.Context, log *slog.Logger) error {
	wait.Every(ctx, probeInterval, func(time.Time) {
		was := s.trouble.why.Load() != nil
		err := s.tryWrite(ctx, was)
		switch {
		case ctx.Err() != nil:
		case err != nil && !was:
			log.Error("the database cannot be written", "error", err)
		case err == nil && was:
			log.Info("the database can be written again")
		}
	})
	return nil
}

// tryWrite takes the database's write lock. With page it also rewrites a row unchanged, to
// find out whether the disk accepts writes again.
func (s *store) tryWrite(ctx context.Context, page bool) error {
	return s.commit(ctx, func(tx *sqlx.Tx) error {
		if !page {
			return nil
		}
		if _, err := tx.ExecContext(ctx, "UPDATE goose_db_version SET tstamp = tstamp"); err != nil {
			return fmt.Errorf("write a page: %w", err)
		}
		return nil
	})
}
