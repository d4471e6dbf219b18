package registry

import (
	"context"
	"errors"
	"fmt"

	"poked/events"
	"poked/registry/database"
)

// Removal is the record of a removed pusher.
type Removal struct {
	At       int64           `db:"removed_at" json:"removed_at"` // seconds
	UserID   events.UserID   `db:"user_id" json:"user_id"`
	AppID    string          `db:"app_id" json:"app_id"`
	PusherID events.PusherID `db:"pusher_id" json:"pusher"`
	Reason   string          `db:"reason" json:"reason"`
}

// Removals returns up to limit removals, newest first, of one user or, for an empty user,
// of all. The database keeps the last 20 of each user. It only reads the database and may
// run while a registry uses it.
func Removals(ctx context.Context, address string, options database.Options, user events.UserID, limit int) (list []Removal, err error) {
	db, err := database.OpenReader(ctx, address, options)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	err = db.Select(ctx, &list, `SELECT removed_at, user_id, app_id, pusher_id, reason FROM removed_pushers
		WHERE ? = '' OR user_id = ? ORDER BY id DESC LIMIT ?`, user, user, limit)
	if err != nil {
		return nil, fmt.Errorf("read removed pushers: %w", err)
	}
	return list, nil
}
