package browsers

import (
	"context"
	"fmt"
	"log/slog"

	"poked/events"
	"poked/events/stream"
	"poked/events/wait"
	"poked/events/webpush"
	"poked/registry/store"
)

// openVAPID returns the key of the database, and makes it if there is none.
func openVAPID(ctx context.Context, s *store.Store, conn *stream.Conn, log *slog.Logger) (*webpush.Key, error) {
	secret, err := s.VAPID(ctx)
	if err != nil {
		return nil, err
	}
	if secret == "" {
		there, found, err := conn.VAPID(ctx)
		if err != nil {
			return nil, fmt.Errorf("look for a vapid key in nats: %w", err)
		}
		made, err := webpush.NewKey()
		if err != nil {
			return nil, fmt.Errorf("open web push: %w", err)
		}
		if secret = made.Secret(); found {
			secret = there.PrivateKey
			log.Warn("the database has no vapid key, it gets the one that nats has")
		}
		if secret, err = s.KeepVAPID(ctx, secret); err != nil {
			return nil, err
		}
	}
	key, err := webpush.ParseKey(secret)
	if err != nil {
		return nil, fmt.Errorf("read vapid key from the database: %w", err)
	}
	return key, nil
}

// Key returns the key by which push services know poked.
func (b *Browsers) Key() *webpush.Key { return b.key }

// publish stores the key in NATS for the dispatchers, and again whenever the connection was
// lost: the bucket may have been, too. The database wins.
func (b *Browsers) publish(ctx context.Context) {
	for ctx.Err() == nil {
		there, found, err := b.conn.VAPID(ctx)
		if err == nil && found && there.PrivateKey != b.key.Secret() {
			b.log.Error("nats has another vapid key than the database: browsers that subscribed with that one get nothing until they subscribe again")
		}
		err = b.conn.PutVAPID(ctx, events.VAPID{PrivateKey: b.key.Secret(), Subject: b.subject})
		if err != nil {
			if ctx.Err() == nil {
				b.log.Warn("the vapid key cannot be published, trying again", "error", err)
			}
			_ = wait.For(ctx, wait.RetryPause) // the loop checks ctx
			continue
		}
		select {
		case <-ctx.Done():
		case <-b.back:
		}
	}
}

// PublishAgain stores the key in NATS again, as after a reconnect.
func (b *Browsers) PublishAgain() { wait.Wake(b.back) }
