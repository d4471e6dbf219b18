package registry

import (
	"context"
	"errors"
	"fmt"
	"math"

	"poked/events"
	"poked/registry/database"
)

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

// removals returns the removals that are older than the one with the id before, if that is
// not 0.
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

// serveOperators answers operators about removed pushers until ctx ends. Clients do not need
// it.
func (r *Registry) serveOperators(ctx context.Context) {
	var said string
	r.conn.ServeRemovals(ctx, func(ctx context.Context, user events.UserID, before int64, limit int) ([]events.Removal, error) {
		return removals(ctx, r.store.db, user, before, limit)
	}, func(err error) {
		if err != nil && said != err.Error() { // log each reason once
			said = err.Error()
			r.log.Warn("operators get no answer, trying until they do", "error", err)
		}
	})
}
