package stream

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/tidwall/gjson"

	"poked/events"
)

// Claim is the right to replace a user's value in a bucket as long as nobody else has
// written it. Several registries may publish from one database:
//
//	ClaimPushers ─▶ revision of the key ─▶ read the database ─▶ Put, if the revision is the same
//
// A value read from the database after the claim is at least as new as every value that was
// in the bucket before the claim, and Put fails if one came after it. So an older value never
// replaces a newer one, however long the process was paused in between.
type Claim[T any] struct {
	bucket   userBucket[T]
	register *Register
	version  func(T) int64
}

// Revision returns the revision of the value that Put has stored, or has found to be there.
func (c *Claim[T]) Revision() uint64 { return c.register.Last().Revision }

// AheadError reports that the bucket has a value of a higher version, or another value of
// the same one: the database was restored from a backup, or has lost its last changes.
type AheadError struct {
	Version int64 // in the bucket
}

func (e *AheadError) Error() string {
	return fmt.Sprintf("the bucket has version %d, which the database did not reach", e.Version)
}

// ClaimPushers claims a user's pushers.
func (c *Conn) ClaimPushers(ctx context.Context, user events.UserID) (*Claim[events.UserPushers], error) {
	return claim(ctx, c, pushersBucket(), user, func(set events.UserPushers) int64 { return set.Version })
}

// ClaimPushRules claims a user's push rules.
func (c *Conn) ClaimPushRules(ctx context.Context, user events.UserID) (*Claim[events.UserPushRules], error) {
	return claim(ctx, c, pushRulesBucket(), user, func(set events.UserPushRules) int64 { return set.Version })
}

func claim[T any](ctx context.Context, c *Conn, b userBucket[T], user events.UserID, version func(T) int64) (*Claim[T], error) {
	key := c.topology.UserKey(user)
	found, err := c.ReadRecord(ctx, b.name, key)
	if err != nil {
		return nil, fmt.Errorf("claim %s: %w", b.what, err)
	}
	r := c.Register(b.name, key, c.writerName, found.Revision)
	r.last, r.strict = found, true
	return &Claim[T]{bucket: b, register: r, version: version}, nil
}

// Put stores the user's value, or deletes it if it is empty, and returns nil only when the
// bucket has stored that. It fails with a [ConflictError] if another has written since the
// claim, and with an [AheadError] if the bucket was ahead before it. A deletion is always
// stored, even of nothing, since it ends the claims of others.
func (c *Claim[T]) Put(ctx context.Context, value T) error {
	_, filled := c.bucket.owner(value)
	if !filled {
		if err := c.register.Clear(ctx); err != nil {
			return fmt.Errorf("delete %s: %w", c.bucket.what, err)
		}
		return nil
	}
	raw, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encode %s: %w", c.bucket.what, err)
	}
	if last := c.register.Last(); last.There {
		if last.Value == string(raw) {
			return nil
		}
		if has := gjson.Get(last.Value, "version").Int(); has >= c.version(value) {
			return &AheadError{Version: has}
		}
	}
	if err := c.register.Set(ctx, raw); err != nil {
		return fmt.Errorf("put %s: %w", c.bucket.what, err)
	}
	return nil
}
