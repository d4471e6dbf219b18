package store

import (
	"context"
	"fmt"
	"math"

	"poked/events"
	"poked/registry/database"
)

// Waiting is a user's value that has to be published to a bucket.
type Waiting struct {
	UserID events.UserID `db:"user_id"`
	Bucket Bucket        `db:"bucket"`
	UpTo   int64         `db:"up_to"` // id of the user's newest row for the bucket
}

// Unpublished returns whose values are to be published by this process, in order: of up to
// limit users with rows of its own, or with rows of others up to an id, which they have left
// for too long. It includes all rows of these users, since a new pusher must not come
// before its user's rules.
func (s *Store) Unpublished(ctx context.Context, left int64, limit int) (list []Waiting, err error) {
	err = s.db.Select(ctx, &list, `SELECT user_id, bucket, max(id) AS up_to FROM outbox
		WHERE user_id IN (SELECT user_id FROM (
			SELECT user_id FROM outbox WHERE origin = ? OR id <= ? ORDER BY id LIMIT ?) AS first)
		GROUP BY user_id, bucket ORDER BY max(id)`, s.db.Origin(), left, limit)
	if err != nil {
		return nil, fmt.Errorf("read outbox: %w", err)
	}
	return list, nil
}

// Load reads the current values, and the ids of the rows that these make superfluous, all
// in one transaction.
func (s *Store) Load(ctx context.Context, list []Waiting) (values []Value, err error) {
	err = s.view(ctx, func(tx *database.Tx) error {
		values = make([]Value, len(list))
		for i, w := range list {
			if values[i], err = w.Bucket.load(ctx, tx, w.UserID); err != nil {
				return err
			}
			err := tx.GetContext(ctx, &list[i].UpTo, "SELECT coalesce(max(id), 0) FROM outbox WHERE user_id = ? AND bucket = ?", w.UserID, w.Bucket)
			if err != nil {
				return fmt.Errorf("read outbox: %w", err)
			}
		}
		return nil
	})
	return values, err
}

// IsPending reports whether the outbox has changes of a user that this process made.
func (s *Store) IsPending(ctx context.Context, user events.UserID) (pending bool, err error) {
	err = s.db.Get(ctx, &pending, "SELECT EXISTS (SELECT * FROM outbox WHERE user_id = ? AND origin = ?)", user, s.db.Origin())
	if err != nil {
		return false, fmt.Errorf("look into outbox: %w", err)
	}
	return pending, nil
}

// Published deletes the rows of values that were published. Later rows stay, since they may
// be for newer changes.
func (s *Store) Published(ctx context.Context, list []Waiting) error {
	return s.commit(ctx, func(tx *database.Tx) error {
		for _, w := range list {
			_, err := tx.ExecContext(ctx, "DELETE FROM outbox WHERE id <= ? AND user_id = ? AND bucket = ?", w.UpTo, w.UserID, w.Bucket)
			if err != nil {
				return fmt.Errorf("delete from outbox: %w", err)
			}
		}
		return nil
	})
}

// NewestRow returns the id of the newest row of the outbox, 0 if it is empty. Nobody else
// has rows in a database that is not shared, so all rows count as left there.
func (s *Store) NewestRow(ctx context.Context) (id int64, err error) {
	if !s.db.Shared() {
		return math.MaxInt64, nil
	}
	if err := s.db.Get(ctx, &id, "SELECT coalesce(max(id), 0) FROM outbox"); err != nil {
		return 0, fmt.Errorf("read end of outbox: %w", err)
	}
	return id, nil
}

// CountOutbox returns how many rows the outbox has.
func (s *Store) CountOutbox(ctx context.Context) (n int, err error) {
	if err := s.db.Get(ctx, &n, "SELECT count(*) FROM outbox"); err != nil {
		return 0, fmt.Errorf("count outbox: %w", err)
	}
	return n, nil
}

// Entry is a user to put into the outbox.
type Entry struct {
	User    events.UserID
	AtLeast int64 // the version is raised to this if it is lower
	Grow    int64 // and otherwise by this
}

// Enqueue puts users into the outbox. The entries must be in the order of user ids.
func (s *Store) Enqueue(ctx context.Context, b Bucket, entries []Entry) error {
	if len(entries) == 0 {
		return nil
	}
	return s.update(ctx, nil, func(tx *database.Tx) error { // the users' rows are locked in order
		for _, d := range entries {
			if err := raise(ctx, tx, b, d); err != nil {
				return err
			}
		}
		return nil
	})
}

// raise raises a user's version and puts the user into the outbox. It locks the user's row
// before the outbox gives out an id, so the ids of one user's rows have the order of their
// commits.
func raise(ctx context.Context, tx *database.Tx, b Bucket, d Entry) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO users (user_id, version) VALUES (?, 0) ON CONFLICT DO NOTHING", d.User)
	if err != nil {
		return fmt.Errorf("write user: %w", err)
	}
	column := b.version()
	_, err = tx.ExecContext(ctx, "UPDATE users SET "+column+" = CASE WHEN "+column+" + ? > ? THEN "+column+" + ? ELSE ? END WHERE user_id = ?",
		d.Grow, d.AtLeast, d.Grow, d.AtLeast, d.User)
	if err != nil {
		return fmt.Errorf("raise version: %w", err)
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO outbox (user_id, bucket, origin) VALUES (?, ?, ?)", d.User, b, tx.Origin()); err != nil {
		return fmt.Errorf("write outbox: %w", err)
	}
	return nil
}

// userVersion is a user and the version of a value.
type userVersion struct {
	UserID  events.UserID `db:"user_id"`
	Version int64         `db:"version"`
}

// ValuesAfter returns the values of up to limit users for a bucket, ordered by user id,
// starting after one. It omits users who never had a value for it. It needs a few statements
// for all of them.
func (s *Store) ValuesAfter(ctx context.Context, b Bucket, after events.UserID, limit int) (values []Value, err error) {
	err = s.view(ctx, func(tx *database.Tx) error {
		var users []userVersion
		query := "SELECT user_id, " + b.version() + " AS version FROM users WHERE user_id > ? AND " + b.version() + " > 0 ORDER BY user_id LIMIT ?"
		if err := tx.SelectContext(ctx, &users, query, after, limit); err != nil {
			return fmt.Errorf("read users: %w", err)
		}
		if len(users) == 0 {
			return nil
		}
		values, err = b.loadAll(ctx, tx, users)
		return err
	})
	return values, err
}
