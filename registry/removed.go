package registry

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"

	"github.com/jmoiron/sqlx"

	"poked/events"
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
func Removals(ctx context.Context, database string, user events.UserID, limit int) (list []Removal, err error) {
	if _, err := os.Stat(database); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	db, err := sqlx.Open("sqlite3", dsn(database, url.Values{"mode": {"ro"}, "_query_only": {"on"}, "_busy_timeout": {"5000"}}))
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	err = db.SelectContext(ctx, &list, `SELECT removed_at, user_id, app_id, pusher_id, reason FROM removed_pushers
		WHERE ? = '' OR user_id = ? ORDER BY id DESC LIMIT ?`, user, user, limit)
	if err != nil {
		return nil, fmt.Errorf("read removed pushers: %w", err)
	}
	return list, nil
}
