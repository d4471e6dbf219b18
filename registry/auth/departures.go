package auth

import (
	"context"
	"fmt"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"poked/events"
	"poked/registry/store"
)

// maxDepartures bounds how many logouts are remembered. It exceeds what can happen while
// the slowest request is in progress.
const maxDepartures = 10_000

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

// WithClaim returns a context with which a transaction commits only if the identity was
// not logged out since it was authenticated.
func (h *HomeserverTokens) WithClaim(ctx context.Context, identity Identity) context.Context {
	return store.WithClaim(ctx, store.Claim{
		UserID: identity.UserID, DeviceID: identity.DeviceID, Noted: identity.noted,
		Holds: func() bool { return h.gone.unless(identity, func() {}) },
	})
}

// ClaimNow is [HomeserverTokens.WithClaim] for work on behalf of a user that begins now.
func (h *HomeserverTokens) ClaimNow(ctx context.Context, user events.UserID) (context.Context, error) {
	asked := h.gone.now()
	noted, err := h.notices.Latest(ctx)
	if err != nil {
		return nil, err
	}
	return h.WithClaim(ctx, Identity{UserID: user, asked: asked, noted: noted}), nil
}
