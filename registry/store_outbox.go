package registry

import (
	"context"
	"fmt"

	"github.com/jmoiron/sqlx"

	"poked/events"
)

// owed is the head of the outbox: users whose pushers NATS has to be told.
type owed struct {
	sets []events.UserPushers // each user once, as the database has them now
	upTo int64                // newest row of the outbox that was read
}

// Owed reads the first rows of the outbox, up to limit, and the present state of
// their users: never older than the rows say, since both are of one moment.
func (s *store) Owed(ctx context.Context, limit int) (o owed, err error) {
	err = s.view(ctx, func(tx *sqlx.Tx) error {
		var rows []struct {
			ID   int64         `db:"id"`
			User events.UserID `db:"user_id"`
		}
		if err := tx.SelectContext(ctx, &rows, "SELECT id, user_id FROM outbox ORDER BY id LIMIT ?", limit); err != nil {
			return fmt.Errorf("read outbox: %w", err)
		}
		read := map[events.UserID]bool{}
		for _, row := range rows {
			o.upTo = row.ID
			if read[row.User] {
				continue
			}
			read[row.User] = true
			set, err := pushersOf(ctx, tx, row.User)
			if err != nil {
				return err
			}
			o.sets = append(o.sets, set)
		}
		return nil
	})
	return o, err
}

// Told deletes the rows of users, up to and including row upTo. Rows that came
// later stay: they may say more.
func (s *store) Told(ctx context.Context, users []events.UserID, upTo int64) error {
	return s.update(ctx, func(tx *sqlx.Tx) error {
		for _, user := range users {
			if _, err := tx.ExecContext(ctx, "DELETE FROM outbox WHERE id <= ? AND user_id = ?", upTo, user); err != nil {
				return fmt.Errorf("delete from outbox: %w", err)
			}
		}
		return nil
	})
}

// debt is a user whom the outbox has to tell NATS about.
type debt struct {
	user    events.UserID
	atLeast int64 // the version is raised to this if it is lower
	grow    int64 // and otherwise by this
}

// Owe puts users into the outbox.
func (s *store) Owe(ctx context.Context, debts []debt) error {
	if len(debts) == 0 {
		return nil
	}
	return s.update(ctx, func(tx *sqlx.Tx) error {
		for _, d := range debts {
			if err := raise(ctx, tx, d); err != nil {
				return err
			}
		}
		return nil
	})
}

func raise(ctx context.Context, tx *sqlx.Tx, d debt) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO users (user_id, version) VALUES (?, ?)
		ON CONFLICT (user_id) DO UPDATE SET version = max(version + ?, excluded.version)`, d.user, d.atLeast, d.grow)
	if err != nil {
		return fmt.Errorf("raise version: %w", err)
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO outbox (user_id) VALUES (?)", d.user); err != nil {
		return fmt.Errorf("write outbox: %w", err)
	}
	return nil
}

// UsersAfter returns up to limit users with their pushers, in the order of their
// ids, beginning after one.
func (s *store) UsersAfter(ctx context.Context, after events.UserID, limit int) (sets []events.UserPushers, err error) {
	err = s.view(ctx, func(tx *sqlx.Tx) error {
		var users []events.UserID
		err := tx.SelectContext(ctx, &users, "SELECT user_id FROM users WHERE user_id > ? ORDER BY user_id LIMIT ?", after, limit)
		if err != nil {
			return fmt.Errorf("read users: %w", err)
		}
		for _, user := range users {
			set, err := pushersOf(ctx, tx, user)
			if err != nil {
				return err
			}
			sets = append(sets, set)
		}
		return nil
	})
	return sets, err
}
