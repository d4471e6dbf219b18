package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"poked/events"
	"poked/registry/database"
)

// keptRemovals is how many removals are kept for each user.
const keptRemovals = 20

// Removed is a removed pusher and the reason.
type Removed struct {
	user   events.UserID
	pusher events.PusherID
	reason string
}

// LogRemoved logs pushers that were removed without a request of their owner.
func LogRemoved(log *slog.Logger, list []Removed) {
	for _, r := range list {
		log.Info("pusher removed", "user_id", string(r.user), "pusher", string(r.pusher), "reason", r.reason)
	}
}

// DeletePusher removes a pusher at its owner's request. It does nothing if there is none.
func (s *Store) DeletePusher(ctx context.Context, user events.UserID, appID, pushkey string) error {
	_, err := s.removeWhere(ctx, user, "deleted",
		"user_id = ? AND app_id = ? AND pushkey = ?", user, appID, pushkey)
	return err
}

// Reject removes the pusher that a gateway rejected, or whose gateway is gone, unless it was set
// again since.
func (s *Store) Reject(ctx context.Context, r events.Rejection) ([]Removed, error) {
	reason := "rejected by " + r.Gateway
	if r.Reason == events.RejectedGone {
		reason = "gateway gone for long: " + r.Gateway
	}
	return s.removeWhere(ctx, r.UserID, reason,
		"user_id = ? AND app_id = ? AND pushkey = ? AND pushkey_ts <= ?", r.UserID, r.AppID, r.Pushkey, r.PushkeyTS)
}

// removeWhere removes pushers of a user.
func (s *Store) removeWhere(ctx context.Context, user events.UserID, reason, where string, args ...any) (list []Removed, err error) {
	err = s.update(ctx, of(user), func(tx *database.Tx) error {
		list, err = remove(ctx, tx, reason, where, args...)
		return err
	})
	return list, err
}

// remove deletes the pushers that match a condition, records the reason, and puts their
// users into the outbox. The condition must be a constant; values are passed as args.
func remove(ctx context.Context, tx *database.Tx, reason, where string, args ...any) ([]Removed, error) {
	var rows []pusherRow
	query := "DELETE FROM pushers WHERE " + where + " RETURNING " + pusherColumns
	err := tx.SelectContext(ctx, &rows, query, args...)
	if err != nil {
		return nil, fmt.Errorf("delete pushers: %w", err)
	}
	var list []Removed
	touched := map[events.UserID]bool{}
	for _, row := range rows {
		gone := Removed{row.UserID, events.NewPusherID(row.UserID, row.AppID, row.Pushkey), reason}
		if err := keepRemoval(ctx, tx, row, gone); err != nil {
			return nil, err
		}
		if !touched[row.UserID] {
			if err := touch(ctx, tx, row.UserID); err != nil {
				return nil, err
			}
			touched[row.UserID] = true
		}
		list = append(list, gone)
	}
	return list, nil
}

// keepRemoval records a removal and deletes the user's oldest ones.
func keepRemoval(ctx context.Context, tx *database.Tx, row pusherRow, gone Removed) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO removed_pushers (user_id, pusher_id, app_id, pushkey_ts, reason, removed_at)
		VALUES (?, ?, ?, ?, ?, ?)`, row.UserID, gone.pusher, row.AppID, row.PushkeyTS, gone.reason, time.Now().Unix())
	if err != nil {
		return fmt.Errorf("write removal: %w", err)
	}
	_, err = tx.ExecContext(ctx, `DELETE FROM removed_pushers WHERE user_id = ? AND id <= (
			SELECT id FROM removed_pushers WHERE user_id = ? ORDER BY id DESC LIMIT 1 OFFSET ?)`,
		row.UserID, row.UserID, keptRemovals)
	if err != nil {
		return fmt.Errorf("forget old removals: %w", err)
	}
	return nil
}

// Removals returns up to limit removals, newest first, of one user or, for an empty user,
// of all. The database keeps the last 20 of each user. It only reads the database and may
// run while a registry uses it.
func Removals(ctx context.Context, address string, options database.Options, user events.UserID, limit int) (list []events.Removal, err error) {
	db, err := database.OpenReader(ctx, address, options)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return removals(ctx, db, user, 0, limit)
}

// RemovalsBefore is [Removals] of the removals that are older than the one with the id before,
// if that is not 0.
func (s *Store) RemovalsBefore(ctx context.Context, user events.UserID, before int64, limit int) ([]events.Removal, error) {
	return removals(ctx, s.db, user, before, limit)
}

func removals(ctx context.Context, db *database.DB, user events.UserID, before int64, limit int) (list []events.Removal, err error) {
	if before == 0 {
		before = math.MaxInt64
	}
	err = db.Select(ctx, &list, `SELECT id, removed_at, user_id, app_id, pusher_id, reason FROM removed_pushers
		WHERE (? = '' OR user_id = ?) AND id < ? ORDER BY id DESC LIMIT ?`, user, user, before, limit)
	if err != nil {
		return nil, fmt.Errorf("read removed pushers: %w", err)
	}
	return list, nil
}
