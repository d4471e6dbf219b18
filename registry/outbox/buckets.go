package outbox

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"iter"

	"poked/events"
	"poked/events/stream"
	"poked/registry/store"
)

// revisionIn returns the bucket's revision in a barrier.
func revisionIn(of *events.Barrier, b store.Bucket) *uint64 {
	if b == store.InPushRules {
		return &of.PushRules
	}
	return &of.Pushers
}

// putter writes the value that was read from the database after the claim, and returns its
// revision.
type putter func(context.Context, store.Value) (uint64, error)

// claimKeyIn claims a user's key in the bucket.
func claimKeyIn(ctx context.Context, conn *stream.Conn, b store.Bucket, user events.UserID) (putter, error) {
	if b == store.InPushRules {
		claim, err := conn.ClaimPushRules(ctx, user)
		return func(ctx context.Context, v store.Value) (uint64, error) {
			err := claim.Put(ctx, v.Rules)
			return claim.Revision(), err
		}, err
	}
	claim, err := conn.ClaimPushers(ctx, user)
	return func(ctx context.Context, v store.Value) (uint64, error) {
		err := claim.Put(ctx, v.Pushers)
		return claim.Revision(), err
	}, err
}

// All yields every value in the bucket.
func All(ctx context.Context, conn *stream.Conn, b store.Bucket) iter.Seq2[store.Value, error] {
	if b == store.InPushRules {
		return values(conn.AllPushRules(ctx), store.PushRulesValue)
	}
	return values(conn.AllPushers(ctx), store.PushersValue)
}

func values[T any](all iter.Seq2[T, error], valueOf func(T) store.Value) iter.Seq2[store.Value, error] {
	return func(yield func(store.Value, error) bool) {
		for v, err := range all {
			if !yield(valueOf(v), err) {
				return
			}
		}
	}
}

// valueState is a digest of a value in a bucket, for comparison.
type valueState struct {
	version int64
	content [sha256.Size]byte
}

// stateOf returns the digest of a value. It does not depend on how the JSON was formatted.
func stateOf(v *store.Value) valueState {
	encoded, err := json.Marshal(v.Content)
	if err != nil {
		return valueState{} // not valid JSON: equal to no other
	}
	return valueState{version: v.Version, content: sha256.Sum256(encoded)}
}
