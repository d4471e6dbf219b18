package store

import (
	"context"
	"time"

	"poked/events"
	"poked/registry/database"
	"poked/registry/problem"
)

// ErrLoggedOut reports that a device of the client's account was logged out after the
// client was authenticated. Only the homeserver knows whether this token is still valid.
var ErrLoggedOut error = &problem.Error{
	Kind: problem.LimitExceeded, Message: "a device of this account was logged out at the same time, try again", RetryAfter: time.Second,
}

// claimKey is the context key of a claim.
type claimKey struct{}

// Claim is the condition of a transaction that neither its user nor the device was logged out.
type Claim struct {
	UserID   events.UserID
	DeviceID string
	Noted    int64       // the newest notice when the client was authenticated
	Holds    func() bool // as far as is known in this process
}

// WithClaim returns a context with which a transaction commits only if the claim holds.
// A logout is recorded before it removes pushers, or with that, and transactions of one user
// come one after the other. So a pusher that was set before the logout is removed, and one that
// would be set after it is refused with [ErrLoggedOut].
func WithClaim(ctx context.Context, c Claim) context.Context {
	return context.WithValue(ctx, claimKey{}, c)
}

// checkClaim returns an error if a context's claim no longer holds, in this process or by
// what another has noted. The transaction has locked the user.
func (s *Store) checkClaim(ctx context.Context, tx *database.Tx) error {
	c, ok := ctx.Value(claimKey{}).(Claim)
	if !ok {
		return nil
	}
	if !c.Holds() {
		return ErrLoggedOut
	}
	if !s.db.Shared() {
		return nil
	}
	departed, err := departedSince(ctx, tx, &c)
	if err == nil && departed {
		err = ErrLoggedOut
	}
	return err
}
