package store

import (
	"context"
	"fmt"
	"time"

	"poked/registry/database"
)

// VAPID returns the private VAPID key, "" if there is none yet.
func (s *Store) VAPID(ctx context.Context) (secret string, err error) {
	if err := s.db.Get(ctx, &secret, "SELECT coalesce(max(private_key), '') FROM vapid"); err != nil {
		return "", fmt.Errorf("read vapid key: %w", err)
	}
	return secret, nil
}

// KeepVAPID stores a private VAPID key, unless another registry has stored one, and returns the
// one that is stored: with several registries it is the same for all.
func (s *Store) KeepVAPID(ctx context.Context, secret string) (kept string, err error) {
	err = s.commit(ctx, func(tx *database.Tx) error {
		if err := putVAPID(ctx, tx, secret); err != nil {
			return err
		}
		return tx.GetContext(ctx, &kept, "SELECT private_key FROM vapid")
	})
	if err != nil {
		return "", fmt.Errorf("keep vapid key: %w", err)
	}
	return kept, nil
}

// putVAPID writes a private key if there is none.
func putVAPID(ctx context.Context, tx *database.Tx, secret string) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO vapid (id, private_key, made_at) VALUES (1, ?, ?) ON CONFLICT DO NOTHING", secret, time.Now().Unix())
	if err != nil {
		return fmt.Errorf("write vapid key: %w", err)
	}
	return nil
}
