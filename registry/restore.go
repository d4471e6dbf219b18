package registry

import (
	"context"

	"poked/events/stream"
	"poked/registry/database"
	"poked/registry/store"
)

// Restore builds the database at an address from the buckets in NATS; see [store.Restore].
func Restore(ctx context.Context, address string, options database.Options, conn *stream.Conn, dryRun bool, progress func()) (store.Restored, error) {
	from := store.Buckets{Pushers: conn.AllPushers(ctx), PushRules: conn.AllPushRules(ctx), VAPID: conn.VAPID}
	return store.Restore(ctx, address, options, from, dryRun, progress) //nolint:wrapcheck // it names the database
}
