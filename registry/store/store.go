// Package store keeps what the registry knows, in a database of either kind
// ([database.DB]). It has every statement that reads or writes a table, and knows neither HTTP
// nor NATS.
//
//	users                                the versions of a user's two values
//	pushers, removed_pushers             pushers, and the last 20 removals of each user
//	push_rules, predefined_changes       the rules that users made, and what differs from predefined ones
//	account_data, account_changes        what the homeserver publishes of a user, and its order
//	outbox                               whose values have to be published to NATS
//	notices                              what makes the memory of other registries outdated
//	vapid                                the key of Web Push
//
// An exported method of [Store] is one transaction: the change, the user's next version and a
// row of the outbox, or nothing. Its error is a [problem.Error] if the client is at fault.
//
// # Push rules
//
// A user's own rules are identified by scope, kind and id. The scope is "" for the global
// rules, or the instance handle of one device. Rules have positions with gaps between them, so
// that moving a rule rewrites only that rule (rule_order.go). For predefined rules only the
// differences are stored: users without any follow the specification and have no key in the
// bucket. A request that changes nothing is not published. While a homeserver publishes a user's
// rules, those that were made here before stay stored, and so do the rules of devices.
//
// # Guarantees
//
// G10: every statement is bound to the user that is passed in. The one exception is in the
// specification: setting a pusher without "append" removes other users' pushers with the same
// app_id and pushkey.
//
// G11: what a method has stored when it returns is on disk, with synchronous=FULL in SQLite
// and with synchronous_commit in PostgreSQL. Its row leaves the outbox only after the bucket has
// stored the user's value ([Store.Published]). That value is read from the database when it is
// published, so it is never older than the rows that are deleted, and one write may cover
// several rows.
//
// # Several registries
//
//   - Changes of one user come one after the other, wherever they are made: each locks the
//     user first. So versions only grow, and the limits of pushers and rules hold.
//   - An account change that comes late replaces no newer one (order.go).
//   - A logout, a refused token, and a time in which clients went to the homeserver itself are
//     noted (notices.go). A transaction looks for logouts itself (claim.go).
//
// # What fails, and how
//
//   - The disk is full, the server is away, or another program holds the database locked:
//     [database.ErrAway], nothing changed. [Store.Probe] tests every few seconds whether the
//     database can be written, and [Trouble] tells why not.
//   - The database was lost: [Restore] rebuilds it from what NATS holds.
//   - A text with the character U+0000, which PostgreSQL cannot store: [problem.InvalidParam].
package store

import (
	"context"
	"errors"

	"poked/events"
	"poked/events/pushrule"
	"poked/events/wait"
	"poked/registry/database"
	"poked/registry/problem"
)

// Store is what the registry keeps, in its database. Each exported method owns its
// transaction and passes it to the functions it calls.
type Store struct {
	db      *database.DB
	options Options
	trouble Trouble
	pending chan struct{} // wakes the outbox when it has new rows
}

// Options are what an operator may set about what is stored.
type Options struct {
	MaxPushers   int             // of one user
	Offers       pushrule.Offers // proposals whose rules users have
	DoNotDisturb bool            // the account data m.do_not_disturb counts
}

// New returns the store in a database, which the caller closes.
func New(db *database.DB, options Options) *Store {
	return &Store{db: db, options: options, pending: make(chan struct{}, 1)}
}

// Options returns what the operator has set.
func (s *Store) Options() Options { return s.options }

// Pending wakes one reader after each change that has to be published; see [Store.Unpublished].
func (s *Store) Pending() <-chan struct{} { return s.pending }

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
// the outbox. The claim of ctx is checked with the names locked, which [WithClaim] relies
// on. change may be called again, and must begin anew then.
func (s *Store) update(ctx context.Context, names []string, change func(*database.Tx) error) error {
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
	wait.Wake(s.pending)
	return nil
}

// commit runs change in a transaction, and records whether the database can be written.
func (s *Store) commit(ctx context.Context, change func(*database.Tx) error) error {
	err := asRefused(s.db.Update(ctx, change))
	s.trouble.Note(err)
	return err
}

// view runs look in a read transaction, on one consistent state of the database.
func (s *Store) view(ctx context.Context, look func(*database.Tx) error) error {
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
