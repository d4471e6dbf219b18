package registry

import (
	"context"
	"fmt"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"poked/events"
	"poked/registry/database"
	"poked/registry/problem"
)

// maxDepartures bounds how many logouts are remembered. It exceeds what can happen while
// the slowest request is in progress.
const maxDepartures = 10_000

// errLoggedOut reports that a device of the client's account was logged out after the
// client was authenticated. Only the homeserver knows whether this token is still valid.
var errLoggedOut error = &problem.Error{
	Kind: problem.LimitExceeded, Message: "a device of this account was logged out at the same time, try again", RetryAfter: strangerWait,
}

// departures remembers recent logouts of users and devices, in the order in which they
// became known.
type departures struct {
	mu        sync.Mutex // guards what follows
	count     uint64
	last      *simplelru.LRU[departed, uint64] // number of the newest logout of each
	forgotten uint64                           // number of the newest logout that was dropped
}

// departed is a device, or with device "" all devices of a user.
type departed struct {
	user   events.UserID
	device string
}

func newDepartures() (*departures, error) {
	d := &departures{}
	last, err := simplelru.NewLRU(maxDepartures, func(_ departed, number uint64) { d.forgotten = max(d.forgotten, number) })
	if err != nil {
		return nil, fmt.Errorf("remember logouts: %w", err)
	}
	d.last = last
	return d, nil
}

// add records the logout of a device, or with "" of all devices of the user.
func (d *departures) add(user events.UserID, device string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.count++
	d.last.Add(departed{user, device}, d.count)
}

// now returns the number of logouts so far. It serves as the time of an authentication.
func (d *departures) now() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.count
}

// unless calls do unless the identity was logged out since it was authenticated, and
// reports whether it did. No logout is recorded while do runs; do must not block.
func (d *departures) unless(identity Identity, do func()) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if identity.asked < d.forgotten {
		return false
	}
	for _, device := range []string{identity.DeviceID, ""} {
		if number, ok := d.last.Peek(departed{identity.UserID, device}); ok && number > identity.asked {
			return false
		}
	}
	do()
	return true
}

// claimKey is the context key of a claim.
type claimKey struct{}

// claim is the condition of a transaction that its user was not logged out.
type claim struct {
	identity Identity
	holds    func() bool // as far as is known in this process
}

// withClaim returns a context with which a transaction commits only if the identity was
// not logged out since it was authenticated. A logout is recorded before it removes
// pushers, or with that, and transactions of one user come one after the other. So a pusher
// that was set before the logout is removed, and one that would be set after it is refused.
func (h *homeserverTokens) withClaim(ctx context.Context, identity Identity) context.Context {
	return context.WithValue(ctx, claimKey{}, claim{identity, func() bool { return h.gone.unless(identity, func() {}) }})
}

// claimNow is withClaim for work on behalf of a user that begins now.
func (h *homeserverTokens) claimNow(ctx context.Context, user events.UserID) (context.Context, error) {
	asked := h.gone.now()
	noted, err := h.notices.latest(ctx)
	if err != nil {
		return nil, err
	}
	return h.withClaim(ctx, Identity{UserID: user, asked: asked, noted: noted}), nil
}

// checkClaim returns an error if a context's claim no longer holds, in this process or by
// what another has noted. The transaction has locked the user.
func (s *store) checkClaim(ctx context.Context, tx *database.Tx) error {
	c, ok := ctx.Value(claimKey{}).(claim)
	if !ok {
		return nil
	}
	if !c.holds() {
		return errLoggedOut
	}
	if !s.db.Shared() {
		return nil
	}
	departed, err := departedSince(ctx, tx, c.identity)
	if err == nil && departed {
		err = errLoggedOut
	}
	return err
}
