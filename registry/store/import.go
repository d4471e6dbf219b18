package store

import (
	"context"
	"errors"
	"fmt"

	"poked/events"
	"poked/registry/database"
)

// ErrNotImported is wrapped by every error that concerns one pusher alone; the import can
// go on with the next. The message never contains the pushkey.
var ErrNotImported = errors.New("not taken")

// ErrThere reports that the pusher already exists here, as its client set it.
var ErrThere = fmt.Errorf("%w: it is there already", ErrNotImported)

// Import stores a pusher from a homeserver's database, unless a client has already set it
// here: that one is newer ([ErrThere]). It is published once its user's rules are known; see
// [Store.Release]. A dry run passes the transaction that it never commits, others nil.
func (s *Store) Import(ctx context.Context, dry *database.Tx, user events.UserID, p events.Pusher) error {
	row := newPusherRow(user, p)
	if dry != nil {
		return s.add(ctx, dry, row)
	}
	return s.update(ctx, of(user), func(tx *database.Tx) error { return s.add(ctx, tx, row) })
}

func (s *Store) add(ctx context.Context, tx *database.Tx, row pusherRow) error {
	var there bool
	err := tx.GetContext(ctx, &there, "SELECT count(*) > 0 FROM pushers WHERE user_id = ? AND app_id = ? AND pushkey = ?",
		row.UserID, row.AppID, row.Pushkey)
	if err != nil {
		return fmt.Errorf("look for pusher: %w", err)
	}
	if there {
		return ErrThere
	}
	var have int
	if err := tx.GetContext(ctx, &have, "SELECT count(*) FROM pushers WHERE user_id = ?", row.UserID); err != nil {
		return fmt.Errorf("count pushers: %w", err)
	}
	if have >= s.options.MaxPushers {
		return fmt.Errorf("%w: its user has %d pushers, the most there may be", ErrNotImported, have)
	}
	if err := hold(ctx, tx, row.UserID); err != nil {
		return err
	}
	return upsertPusher(ctx, tx, &row)
}

// hold gives a user no version, so that nothing is published before the user's rules are
// known; see [Store.Held]. A user who has a version has rules.
func hold(ctx context.Context, tx *database.Tx, user events.UserID) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO users (user_id, version) VALUES (?, 0) ON CONFLICT DO NOTHING", user)
	if err != nil {
		return fmt.Errorf("write user: %w", err)
	}
	var published bool
	if err := tx.GetContext(ctx, &published, "SELECT version > 0 FROM users WHERE user_id = ?", user); err != nil {
		return fmt.Errorf("read version: %w", err)
	}
	if !published {
		return nil
	}
	return touch(ctx, tx, user)
}
