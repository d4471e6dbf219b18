package registry

import (
	"context"
	"errors"

	"poked/events"
	"poked/events/pushrule"
	"poked/registry/database"
	"poked/registry/problem"
)

// store is what the registry keeps, in its database. Each exported method owns its
// transaction and passes it to the functions it calls.
type store struct {
	db *database.DB

	maxPushers   int
	offers       pushrule.Offers // proposals whose rules users have
	doNotDisturb bool            // the account data m.do_not_disturb counts
	trouble      storeTrouble
	// pending wakes the outbox when it has new rows.
	pending chan struct{}
}

// openStore opens the database at an address, a file or a URL; see [database.Open].
func openStore(ctx context.Context, address string, options database.Options, maxPushers int) (*store, error) {
	db, err := database.Open(ctx, address, options)
	if err != nil {
		return nil, err
	}
	return &store{db: db, maxPushers: maxPushers, pending: make(chan struct{}, 1)}, nil
}

// of returns the names under which a change locks users, so that changes of one user come
// one after the other. A change may write rows of others, too; those are locked by row.
func of(users ...events.UserID) []string {
	names := make([]string, 0, len(users))
	for _, user := range users {
		names = append(names, "user "+string(user))
	}
	return names
}

// update runs change in a transaction that has locked the names and, if it commits, wakes
// the outbox. The claim of ctx is checked with the names locked, which withClaim relies
// on. change may be called again, and must begin anew then.
func (s *store) update(ctx context.Context, names []string, change func(*database.Tx) error) error {
	err := s.commit(ctx, func(tx *database.Tx) error {
		if err := tx.Lock(ctx, names...); err != nil {
			return err
		}
		if err := s.checkClaim(ctx, tx); err != nil {
			return err
		}
		return change(tx)
	})
	if err != nil {
		return err
	}
	wake(s.pending)
	return nil
}

// commit runs change in a transaction, and records whether the database can be written.
func (s *store) commit(ctx context.Context, change func(*database.Tx) error) error {
	err := asRefused(s.db.Update(ctx, change))
	s.trouble.note(err)
	return err
}

// view runs look in a read transaction, on one consistent state of the database.
func (s *store) view(ctx context.Context, look func(*database.Tx) error) error {
	return asRefused(s.db.View(ctx, look))
}

// asRefused turns the error about a value that the database cannot store into one for the
// client.
func asRefused(err error) error {
	if known := new(problem.Error); database.IsRejected(err) && !errors.As(err, &known) {
		return problem.New(problem.InvalidParam, "no text may contain the character U+0000")
	}
	return err
}

// wake sends a wake-up unless one is already pending.
func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Close closes the database and releases its locks.
func (s *store) Close() error { return s.db.Close() }
