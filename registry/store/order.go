package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"poked/events"
	"poked/registry/database"
)

// orderKey is the context key of the message that a change of account data comes from.
type orderKey struct{}

// InOrderOf returns a context with which account data is stored only if no newer message
// has changed it.
func InOrderOf(ctx context.Context, change *events.AccountChange) context.Context {
	return context.WithValue(ctx, orderKey{}, change)
}

// comesInOrder reports whether the message of ctx is newer than every other that changed
// this kind of a user's account data, and notes it. What comes from no message is in order.
func comesInOrder(ctx context.Context, tx *database.Tx, user events.UserID, kind string) (newest bool, err error) {
	change, ok := ctx.Value(orderKey{}).(*events.AccountChange)
	if !ok || change.Seq == 0 {
		return true, nil
	}
	var last struct {
		Log int64 `db:"log"`
		Seq int64 `db:"seq"`
	}
	err = tx.GetContext(ctx, &last, "SELECT log, seq FROM account_changes WHERE user_id = ? AND kind = ?", user, kind)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return false, fmt.Errorf("read order of account changes: %w", err)
	}
	seq := int64(change.Seq) //nolint:gosec // a stream does not get that long
	if last.Log == change.Log && seq < last.Seq {
		return false, nil
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO account_changes (user_id, kind, log, seq) VALUES (?, ?, ?, ?)
		ON CONFLICT (user_id, kind) DO UPDATE SET log = excluded.log, seq = excluded.seq`, user, kind, change.Log, seq)
	if err != nil {
		return false, fmt.Errorf("write order of account changes: %w", err)
	}
	return true, nil
}
