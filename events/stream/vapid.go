package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"poked/events"
)

// vapidKey is the only key of the bucket VAPID.
const vapidKey = "key"

// VAPID returns the VAPID key as the leader of its bucket knows it now. found is false if there is
// none.
func (c *Conn) VAPID(ctx context.Context) (v events.VAPID, found bool, err error) {
	record, err := c.ReadRecord(ctx, bucketVAPID, vapidKey)
	var api *jetstream.APIError
	if errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamNotFound {
		return v, false, nil // streams of an earlier version
	}
	if err != nil || !record.There {
		return v, false, err
	}
	v, err = events.ParseVAPID([]byte(record.Value))
	return v, err == nil, err
}

// PutVAPID stores the VAPID key for the dispatchers, whatever the bucket has. It returns nil only
// when the bucket has it.
func (c *Conn) PutVAPID(ctx context.Context, v events.VAPID) error {
	value, err := json.Marshal(v) //nolint:gosec // G117: the bucket is for the dispatchers alone
	if err != nil {
		return fmt.Errorf("encode vapid key: %w", err)
	}
	if err := c.overwrite(ctx, bucketVAPID, vapidKey, value); err != nil { // or another registry of the same database has put it
		return fmt.Errorf("put vapid key: %w", err)
	}
	return nil
}

// WatchVAPID calls apply with the VAPID key, if there is one, then ready once, then apply with
// each new one. It returns as [Conn.WatchPushRules] does.
func (c *Conn) WatchVAPID(ctx context.Context, apply func(events.VAPID), ready func()) error {
	return c.watchBucket(ctx, bucketVAPID, vapidKey, func(e entry) {
		if e.deleted {
			return // what was signed with it goes on
		}
		v, err := events.ParseVAPID(e.value)
		if err != nil {
			c.NoteUnreadable(bucketVAPID, e.key, e.revision, err)
			return
		}
		apply(v)
	}, ready)
}
