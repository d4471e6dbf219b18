package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"os"

	"poked/events"
	"poked/events/pushrule"
	"poked/registry/database"
)

// restorePushers writes a user's pushers from the bucket.
func restorePushers(ctx context.Context, tx *database.Tx, set events.UserPushers) error {
	if err := restoreVersion(ctx, tx, InPushers, set.UserID, set.Version); err != nil {
		return err
	}
	for i := range set.Pushers {
		_, err := tx.NamedExecContext(ctx, `INSERT INTO pushers (`+pusherColumns+`)
			VALUES (`+pusherValues+`)
			ON CONFLICT DO NOTHING`, newPusherRow(set.UserID, set.Pushers[i]))
		if err != nil {
			return fmt.Errorf("write pusher: %w", err)
		}
	}
	return nil
}

// restoreVersion sets a user's version to the one in a bucket, but at least to 1: version
// 0 would mean that the user never had a value.
func restoreVersion(ctx context.Context, tx *database.Tx, b Bucket, user events.UserID, version int64) error {
	column := b.version()
	_, err := tx.ExecContext(ctx, "INSERT INTO users (user_id, version) VALUES (?, 0) ON CONFLICT DO NOTHING", user)
	if err == nil {
		_, err = tx.ExecContext(ctx, "UPDATE users SET "+column+" = ? WHERE user_id = ?", max(version, 1), user)
	}
	if err != nil {
		return fmt.Errorf("write user: %w", err)
	}
	return nil
}

// restoreRules writes a user's push rules and ignored users from the bucket.
func restoreRules(ctx context.Context, tx *database.Tx, rules *events.UserPushRules) error {
	if err := restoreVersion(ctx, tx, InPushRules, rules.UserID, rules.Version); err != nil {
		return err
	}
	for scope, set := range scopesOf(rules) {
		for _, kind := range kinds() {
			if err := restoreList(ctx, tx, rules.UserID, scope, kind, *set.Of(kind)); err != nil {
				return err
			}
		}
	}
	for id, change := range rules.Changes.Predefined {
		if err := restoreChange(ctx, tx, rules.UserID, id, change); err != nil {
			return err
		}
	}
	return restoreAccountData(ctx, tx, rules)
}

// scopesOf returns the user's own rules by scope.
func scopesOf(rules *events.UserPushRules) map[string]pushrule.Ruleset {
	own := &rules.Changes
	scopes := map[string]pushrule.Ruleset{
		"": {Override: own.Override, Content: own.Content, Room: own.Room, Sender: own.Sender, Underride: own.Underride},
	}
	for handle, set := range rules.Devices {
		scopes[handle] = set
	}
	return scopes
}

func kinds() []pushrule.Kind {
	return []pushrule.Kind{
		pushrule.KindOverride, pushrule.KindContent, pushrule.KindRoom, pushrule.KindSender, pushrule.KindUnderride,
	}
}

func restoreList(ctx context.Context, tx *database.Tx, user events.UserID, scope string, kind pushrule.Kind, list []pushrule.Rule) error {
	for i, rule := range list {
		row, err := newRuleRow(user, RuleName{Scope: scope, Kind: kind, ID: rule.ID}, rule, int64(i+1)*positionStep)
		if err != nil {
			return err
		}
		if err := insertRule(ctx, tx, row); err != nil {
			return err
		}
	}
	return nil
}

func restoreChange(ctx context.Context, tx *database.Tx, user events.UserID, id string, change pushrule.Change) (err error) {
	row := changeRow{RuleID: id}
	if change.Enabled != nil {
		row.Enabled = sql.NullBool{Bool: *change.Enabled, Valid: true}
	}
	if change.Actions != nil {
		if row.Actions, err = jsonText(change.Actions); err != nil {
			return err
		}
	}
	_, err = tx.ExecContext(ctx, "INSERT INTO predefined_changes (user_id, rule_id, enabled, actions) VALUES (?, ?, ?, ?)",
		user, row.RuleID, row.Enabled, row.Actions)
	if err != nil {
		return fmt.Errorf("write change of predefined rule: %w", err)
	}
	return nil
}

func restoreAccountData(ctx context.Context, tx *database.Tx, rules *events.UserPushRules) (err error) {
	var published, ignored, quiet sql.NullString
	if rules.Published != nil {
		if published, err = jsonText(rules.Published); err != nil {
			return err
		}
	}
	if len(rules.IgnoredUsers) > 0 {
		if ignored, err = jsonText(rules.IgnoredUsers); err != nil {
			return err
		}
	}
	if rules.DoNotDisturb != nil {
		if quiet, err = jsonText(rules.DoNotDisturb); err != nil {
			return err
		}
	}
	if !published.Valid && !ignored.Valid && !quiet.Valid {
		return nil
	}
	_, err = tx.ExecContext(ctx, "INSERT INTO account_data (user_id, push_rules, ignored_users, do_not_disturb) VALUES (?, ?, ?, ?)",
		rules.UserID, published, ignored, quiet)
	if err != nil {
		return fmt.Errorf("write account data: %w", err)
	}
	return nil
}

// Restored counts what a restore found in the buckets and wrote.
type Restored struct {
	Users      int  `json:"users"` // with pushers
	Pushers    int  `json:"pushers"`
	RuleUsers  int  `json:"users_with_rules"` // with push rules or ignored users
	Rules      int  `json:"rules"`            // that users and their devices have made
	VAPIDKey   bool `json:"vapid_key"`        // the key of Web Push
	Unreadable int  `json:"unreadable"`       // values that could not be parsed and are not restored
}

// Buckets is what NATS holds.
type Buckets struct {
	Pushers   iter.Seq2[events.UserPushers, error]
	PushRules iter.Seq2[events.UserPushRules, error]
	VAPID     func(context.Context) (key events.VAPID, found bool, err error)
}

// ErrNotEmpty reports that a database holds users that a restore would overwrite.
var ErrNotEmpty = errors.New("it already contains users: move it away first, with its -wal and -shm files, or use another database of the server")

// errDryRun rolls back the transaction of a dry run.
var errDryRun = errors.New("dry run")

func notEmpty(address string, known bool) error {
	if !known {
		return nil
	}
	return fmt.Errorf("restore into %s: %w", database.Redact(address), ErrNotEmpty)
}

// KnowsUsers reports whether this database ever published anything to NATS, or has
// something to publish.
func (s *Store) KnowsUsers(ctx context.Context) (known bool, err error) {
	err = s.view(ctx, func(tx *database.Tx) error {
		known, err = knowsUsers(ctx, tx)
		return err
	})
	return known, err
}

// knowsUsers reports whether this database ever published anything to NATS, or has
// something to publish.
func knowsUsers(ctx context.Context, tx *database.Tx) (known bool, err error) {
	if err := tx.GetContext(ctx, &known, "SELECT EXISTS (SELECT * FROM users)"); err != nil {
		return false, fmt.Errorf("look for users: %w", err)
	}
	return known, nil
}

// Restore builds the database at an address from the buckets, for when the file is lost and
// there is no backup. It runs in one transaction: all or nothing. Each user gets the
// version in the bucket, and the outbox stays empty, so that the registry has nothing to
// publish at first and publishes higher versions later. A pusher keeps its pushkey_ts, so
// that a pending rejection still applies to it. The history of removed pushers is not in
// the buckets and is lost.
//
// With dryRun everything is read and nothing written. progress is called once for each
// user in each bucket.
func Restore(ctx context.Context, address string, options database.Options, from Buckets, dryRun bool, progress func()) (Restored, error) {
	r := restore{from: from, progress: progress}
	if _, err := os.Stat(address); dryRun && !database.IsServer(address) && errors.Is(err, os.ErrNotExist) {
		return r.done, r.read(ctx, nil)
	}
	options.Exclusive = true
	db, err := database.Open(ctx, address, options)
	if err != nil {
		return r.done, err
	}
	err = db.Bulk(ctx, func(tx *database.Tx) error {
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
	return r.done, errors.Join(err, db.Close())
}

// restore is one run of [Restore].
type restore struct {
	from     Buckets
	progress func()
	done     Restored
}

// read reads both buckets and writes what they hold, or, without a transaction,
// only counts it.
func (r *restore) read(ctx context.Context, tx *database.Tx) error {
	for set, err := range r.from.Pushers {
		if err != nil {
			return fmt.Errorf("read pushers: %w", err)
		}
		if err := r.pushers(ctx, tx, set); err != nil {
			return err
		}
		r.progress()
	}
	for rules, err := range r.from.PushRules {
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
	there, found, err := r.from.VAPID(ctx)
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
			r.done.Rules += len(*set.Of(kind))
		}
	}
	if tx == nil {
		return nil
	}
	return restoreRules(ctx, tx, rules)
}
