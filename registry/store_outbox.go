package registry

import (
	"context"
	"fmt"

	"github.com/jmoiron/sqlx"

	"poked/events"
)

// outboxHead is the head of the outbox: the values to publish next.
type outboxHead struct {
	values []value // current values, each user at most once for each bucket
	upTo   int64   // id of the newest row that was read
}

// Pending returns the first rows of the outbox, up to limit, with the current values of
// their users. Both are read in one transaction, so a value is never older than its row.
func (s *store) Pending(ctx context.Context, limit int) (o outboxHead, err error) {
	type owner struct {
		User   events.UserID `db:"user_id"`
		Bucket bucket        `db:"bucket"`
	}
	err = s.view(ctx, func(tx *sqlx.Tx) error {
		var rows []struct {
			ID int64 `db:"id"`
			owner
		}
		if err := tx.SelectContext(ctx, &rows, "SELECT id, user_id, bucket FROM outbox ORDER BY id LIMIT ?", limit); err != nil {
			return fmt.Errorf("read outbox: %w", err)
		}
		read := map[owner]bool{}
		for _, row := range rows {
			o.upTo = row.ID
			if read[row.owner] {
				continue
			}
			read[row.owner] = true
			v, err := row.Bucket.load(ctx, tx, row.User)
			if err != nil {
				return err
			}
			o.values = append(o.values, v)
		}
		return nil
	})
	return o, err
}

// IsPending reports whether the outbox has changes of a user.
func (s *store) IsPending(ctx context.Context, user events.UserID) (pending bool, err error) {
	if err := s.read.GetContext(ctx, &pending, "SELECT EXISTS (SELECT * FROM outbox WHERE user_id = ?)", user); err != nil {
		return false, fmt.Errorf("look into outbox: %w", err)
	}
	return pending, nil
}

// Published deletes the rows of values that were published, up to and including row upTo.
// Later rows stay, since they may be for newer changes.
func (s *store) Published(ctx context.Context, values []value, upTo int64) error {
	return s.update(ctx, func(tx *sqlx.Tx) error {
		for i := range values {
			_, err := tx.ExecContext(ctx, "DELETE FROM outbox WHERE id <= ? AND user_id = ? AND bucket = ?",
				upTo, values[i].user, values[i].bucket)
			if err != nil {
				return fmt.Errorf("delete from outbox: %w", err)
			}
		}
		return nil
	})
}

// entry is a user to put into the outbox.
type entry struct {
	user    events.UserID
	atLeast int64 // the version is raised to this if it is lower
	grow    int64 // and otherwise by this
}

// Enqueue puts users into the outbox.
func (s *store) Enqueue(ctx context.Context, b bucket, entries []entry) error {
	if len(entries) == 0 {
		return nil
	}
	return s.update(ctx, func(tx *sqlx.Tx) error {
		for _, d := range entries {
			if err := raise(ctx, tx, b, d); err != nil {
				return err
			}
		}
		return nil
	})
}

func raise(ctx context.Context, tx *sqlx.Tx, b bucket, d entry) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO users (user_id, version) VALUES (?, 0) ON CONFLICT DO NOTHING", d.user)
	if err != nil {
		return fmt.Errorf("write user: %w", err)
	}
	column := b.version()
	_, err = tx.ExecContext(ctx, "UPDATE users SET "+column+" = max("+column+" + ?, ?) WHERE user_id = ?", d.grow, d.atLeast, d.user)
	if err != nil {
		return fmt.Errorf("raise version: %w", err)
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO outbox (user_id, bucket) VALUES (?, ?)", d.user, b); err != nil {
		return fmt.Errorf("write outbox: %w", err)
	}
	return nil
}

// ValuesAfter returns the values of up to limit users for a bucket, ordered by user id,
// starting after one. It omits users who never had a value for it.
func (s *store) ValuesAfter(ctx context.Context, b bucket, after events.UserID, limit int) (values []value, err error) {
	err = s.view(ctx, func(tx *sqlx.Tx) error {
		var users []events.UserID
		query := "SELECT user_id FROM users WHERE user_id > ? AND " + b.version() + " > 0 ORDER BY user_id LIMIT ?"
		if err := tx.SelectContext(ctx, &users, query, after, limit); err != nil {
			return fmt.Errorf("read users: %w", err)
		}
		for _, user := range users {
			v, err := b.load(ctx, tx, user)
			if err != nil {
				return err
			}
			values = append(values, v)
		}
		return nil
	})
	return values, err
}
