package store

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"poked/events/wait"
	"poked/registry/database"
)

const (
	// probeInterval is how often the registry tests whether the database can be written.
	probeInterval = 5 * time.Second
)

// Trouble holds the reason why the last write to the database failed. The zero value
// means that it succeeded.
type Trouble struct {
	why atomic.Pointer[string]
	// ended counts how often writing became possible again. Trouble may be shorter than
	// the interval of somebody who looks at why.
	ended atomic.Int64
}

// Trouble returns what is known of writing to the database.
func (s *Store) Trouble() *Trouble { return &s.trouble }

// Why returns why the database cannot be written, or "".
func (t *Trouble) Why() string {
	if why := t.why.Load(); why != nil {
		return *why
	}
	return ""
}

// Ended returns how often the database became writable again.
func (t *Trouble) Ended() int64 { return t.ended.Load() }

// Note records the result of a write. A violated constraint is the fault of the request,
// not of the database.
func (t *Trouble) Note(err error) {
	switch {
	case err == nil && t.why.Load() != nil:
		if t.why.Swap(nil) != nil {
			t.ended.Add(1)
		}
	case database.IsFault(err):
		t.why.Store(new("the database cannot be written: " + err.Error()))
	}
}

// Probe tests at intervals until ctx ends whether the database can be written, so that
// readiness does not depend on clients' requests.
func (s *Store) Probe(ctx context.Context, log *slog.Logger) error {
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

// tryWrite begins a transaction that may write. With page it also rewrites a row unchanged,
// to find out whether the disk accepts writes again.
func (s *Store) tryWrite(ctx context.Context, page bool) error {
	return s.commit(ctx, func(tx *database.Tx) error {
		if !page {
			return nil
		}
		if _, err := tx.ExecContext(ctx, "UPDATE goose_db_version SET tstamp = tstamp"); err != nil {
			return fmt.Errorf("write a page: %w", err)
		}
		return nil
	})
}
