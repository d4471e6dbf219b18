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
	// probeInterval is how often the database is asked whether it can be written.
	probeInterval = 5 * time.Second
	// retryStore is when a client is told to ask again while it cannot.
	retryStore = 10 * time.Second
)

// ErrStoreAway says that the database cannot be used now and may be later: its disk is
// full, there is no file descriptor, or another program holds it locked.
var ErrStoreAway = errors.New("the database cannot be used at the moment")

// asAway returns err, as an [ErrStoreAway] if it may pass by itself.
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

// storeTrouble is why the database could not be written when that was last tried. The
// zero value is no trouble.
type storeTrouble struct{ why atomic.Pointer[string] }

// note takes in how a write went. What breaks a rule of the schema was asked wrongly, and
// says nothing of the database.
func (t *storeTrouble) note(err error) {
	var known sqlite3.Error
	switch {
	case err == nil && t.why.Load() != nil:
		t.why.Store(nil)
	case errors.As(err, &known) && known.Code != sqlite3.ErrConstraint:
		t.why.Store(new("the database cannot be written: " + err.Error()))
	}
}

// probe asks again and again until ctx ends whether the database can be written: it has to
// be known without a client that tries, and that it works again as well.
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

// tryWrite takes the lock of the database, and, if it could not be written before, writes
// a page that says nothing new.
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
