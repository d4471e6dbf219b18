package registry

import (
	"context"
	"fmt"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"poked/events"
)

// maxDepartures bounds how many logouts are remembered: as many as may come while the
// slowest request is on its way.
const maxDepartures = 10_000

// errLoggedOut says that who asks was logged out, somewhere, after it was found out who
// that is. Whether this token is still somebody's only the homeserver knows.
var errLoggedOut error = &apiError{
	problem: limitExceeded, message: "a device of this account was logged out at the same time, try again", retryAfter: strangerWait,
}

// departures knows which users and devices were logged out of late, in the order in
// which that was heard of.
type departures struct {
	mu        sync.Mutex // guards what follows
	count     uint64
	last      *simplelru.LRU[departed, uint64] // by its number
	forgotten uint64                           // the newest that is no longer remembered
}

// departed is a device, or with "" all of a user's.
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

// add takes a logout in, of a device or with "" of all of a user's.
func (d *departures) add(user events.UserID, device string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.count++
	d.last.Add(departed{user, device}, d.count)
}

// now returns the number of logouts so far: the time at which somebody is asked for.
func (d *departures) now() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.count
}

// unless calls do unless the identity was logged out since it was asked for, and reports
// whether it did. No logout comes in between. do must not block.
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

// claimKey is where a context has its claim.
type claimKey struct{}

// withClaim makes every change of the database that is made with the context depend on
// that the identity was not logged out since it was asked for. A logout is first noted
// and then removes pushers; changes are made one after the other. So what was set before
// is removed, and what comes after is not set.
func (h *homeserverTokens) withClaim(ctx context.Context, identity Identity) context.Context {
	return context.WithValue(ctx, claimKey{}, func() bool { return h.gone.unless(identity, func() {}) })
}

// checkClaim returns an error if a context's claim no longer holds.
func checkClaim(ctx context.Context) error {
	if holds, ok := ctx.Value(claimKey{}).(func() bool); ok && !holds() {
		return errLoggedOut
	}
	return nil
}
