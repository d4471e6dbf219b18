package registry

import (
	"context"
	"fmt"

	"github.com/jmoiron/sqlx"

	"poked/events"
)

// owed is the head of the outbox: what NATS has to be told.
type owed struct {
	values []value // each user once for each bucket, as the database has them now
	upTo   int64   // newest row of the outbox that was read
}

// Owed reads the first rows of the outbox, up to limit, and the present state of
// their users: never older than the rows say, since both are of one moment.
func (s *store) Owed(ctx context.Context, limit int) (o owed, err error) {
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

// Told deletes the rows of values, up to and including row upTo. Rows that came
// later stay: they may say more.
func (s *store) Told(ctx context.Context, values []value, upTo int64) error {
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

// debt is a user whom the outbox has to tell a bucket about.
type debt struct {
	user    events.UserID
	atLeast int64 // the version is raised to this if it is lower
	grow    int64 // and otherwise by this
}

// Owe puts users into the outbox.
func (s *store) Owe(ctx context.Context, b bucket, debts []debt) error {
	if len(debts) == 0 {
		return nil
	}
	return s.update(ctx, func(tx *sqlx.Tx) error {
		for _, d := range debts {
			if err := raise(ctx, tx, b, d); err != nil {
				return err
			}
		}
		return nil
	})
}

func raise(ctx context.Context, tx *sqlx.Tx, b bucket, d debt) error {
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

// ValuesAfter returns what a bucket is to hold of up to limit users, in the order
// of their ids, beginning after one. Users who never had anything for it are left
// out.
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
