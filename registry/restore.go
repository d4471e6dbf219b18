package registry

import (
	"context"
	"errors"
	"fmt"
	"os"

	"poked/events"
	"poked/events/stream"
	"poked/registry/database"
)

// Restored counts what a restore found in the buckets and wrote.
type Restored struct {
	Users      int  `json:"users"` // with pushers
	Pushers    int  `json:"pushers"`
	RuleUsers  int  `json:"users_with_rules"` // with push rules or ignored users
	Rules      int  `json:"rules"`            // that users and their devices have made
	VAPIDKey   bool `json:"vapid_key"`        // the key of Web Push
	Unreadable int  `json:"unreadable"`       // values that could not be parsed and are not restored
}

// ErrNotEmpty reports that a database holds users that a restore would overwrite.
var ErrNotEmpty = errors.New("it already contains users: move it away first, with its -wal and -shm files, or use another database of the server")

// errDryRun rolls back the transaction of a dry run.
var errDryRun = errors.New("dry run")

// Restore builds the database at an address from the buckets, for when the file is lost and
// there is no backup. It runs in one transaction: all or nothing. Each user gets the
// version in the bucket, and the outbox stays empty, so that the registry has nothing to
// publish at first and publishes higher versions later. A pusher keeps its pushkey_ts, so
// that a pending rejection still applies to it. The history of removed pushers is not in
// the buckets and is lost.
//
// With dryRun everything is read and nothing written. progress is called once for each
// user in each bucket.
func Restore(ctx context.Context, address string, options database.Options, conn *stream.Conn, dryRun bool, progress func()) (Restored, error) {
	r := restore{conn: conn, progress: progress}
	if _, err := os.Stat(address); dryRun && !database.IsServer(address) && errors.Is(err, os.ErrNotExist) {
		return r.done, r.read(ctx, nil)
	}
	s, err := openStore(ctx, address, exclusive(options), maxMaxPushers)
	if err != nil {
		return r.done, err
	}
	err = s.db.Bulk(ctx, func(tx *database.Tx) error {
		if known, err := knowsUsers(ctx, tx); err != nil || known {
			return errors.Join(err, notEmpty(address, known))
		}
		if err := r.read(ctx, tx); err != nil || !dryRun {
			return err
		}
		return errDryRun
	})
	if errors.Is(err, errDryRun) {
		err = nil
	}
	return r.done, errors.Join(err, s.Close())
}

func notEmpty(address string, known bool) error {
	if !known {
		return nil
	}
	return fmt.Errorf("restore into %s: %w", database.Redact(address), ErrNotEmpty)
}

// knowsUsers reports whether this database ever published anything to NATS, or has
// something to publish.
func knowsUsers(ctx context.Context, tx *database.Tx) (known bool, err error) {
	if err := tx.GetContext(ctx, &known, "SELECT EXISTS (SELECT * FROM users)"); err != nil {
		return false, fmt.Errorf("look for users: %w", err)
	}
	return known, nil
}

// restore is one run of Restore.
type restore struct {
	conn     *stream.Conn
	progress func()
	done     Restored
}

// read reads both buckets and writes what they hold, or, without a transaction,
// only counts it.
func (r *restore) read(ctx context.Context, tx *database.Tx) error {
	for set, err := range r.conn.AllPushers(ctx) {
		if err != nil {
			return fmt.Errorf("read pushers: %w", err)
		}
		if err := r.pushers(ctx, tx, set); err != nil {
			return err
		}
		r.progress()
	}
	for rules, err := range r.conn.AllPushRules(ctx) {
		if err != nil {
			return fmt.Errorf("read push rules: %w", err)
		}
		if err := r.rules(ctx, tx, &rules); err != nil {
			return err
		}
		r.progress()
	}
	return r.vapid(ctx, tx)
}

// vapid restores the key by which push services know poked.
func (r *restore) vapid(ctx context.Context, tx *database.Tx) error {
	there, found, err := r.conn.VAPID(ctx)
	if err != nil {
		return fmt.Errorf("read vapid key: %w", err)
	}
	if r.done.VAPIDKey = found; !found || tx == nil {
		return nil
	}
	if _, err := tx.ExecContext(ctx, "DELETE FROM vapid"); err != nil { // a registry that ran has made one, which no browser knows
		return fmt.Errorf("delete vapid key: %w", err)
	}
	return putVAPID(ctx, tx, there.PrivateKey)
}

func (r *restore) pushers(ctx context.Context, tx *database.Tx, set events.UserPushers) error {
	if len(set.Pushers) == 0 { // the registry writes no key for a user without pushers
		r.done.Unreadable++
		return nil
	}
	r.done.Users++
	r.done.Pushers += len(set.Pushers)
	if tx == nil {
		return nil
	}
	return restorePushers(ctx, tx, set)
}

func (r *restore) rules(ctx context.Context, tx *database.Tx, rules *events.UserPushRules) error {
	if rules.IsEmpty() {
		r.done.Unreadable++
		return nil
	}
	r.done.RuleUsers++
	for _, set := range scopesOf(rules) {
		for _, kind := range kinds() {
			r.done.Rules += len(*listOf(&set, kind))
		}
	}
	if tx == nil {
		return nil
	}
	return restoreRules(ctx, tx, rules)
}

// ErrLost reports that the database is empty while NATS holds pushers or push rules.
var ErrLost = errors.New("the database is empty, but NATS holds pushers or push rules: " +
	"restore it with 'poked registry restore --from-nats' or from a backup, or delete them from NATS with --start-empty")

// checkNotLost refuses an empty database that would empty the buckets.
func checkNotLost(ctx context.Context, address string, s *store, conn *stream.Conn) error {
	var known bool
	err := s.view(ctx, func(tx *database.Tx) (err error) {
		known, err = knowsUsers(ctx, tx)
		return err
	})
	if err != nil || known {
		return err
	}
	for _, b := range []bucket{inPushers, inPushRules} {
		for _, err := range b.all(ctx, conn) {
			if err != nil {
				return fmt.Errorf("read bucket %s: %w", b, err)
			}
			return fmt.Errorf("open database %s: %w", database.Redact(address), ErrLost)
		}
	}
	return nil
}
