package registry

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"time"

	"poked/events"
	"poked/events/homeserver"
	"poked/events/wait"
)

// recheck asks the homeserver, as an application service, for each device that has
// pushers, one after the other and all over again: homeservers tell nobody when a
// device is logged out. On the way it fetches the push rules of each user and whom the
// user ignores, which may have been changed where nobody saw it.
type recheck struct {
	upstream *upstream
	service  *homeserver.Service
	local    func(events.UserID) bool
	every    time.Duration // how long one round over all devices takes, unless they are too many
	log      *slog.Logger

	failing bool // the homeserver could not be asked the last time
}

const (
	// recheckGap is how often the homeserver is asked at most.
	recheckGap = 500 * time.Millisecond
	// recheckPage is how many devices are read at once.
	recheckPage = 100
)

func newRecheck(up *upstream, service *homeserver.Service, reg *homeserver.Registration, every time.Duration) *recheck {
	return &recheck{upstream: up, service: service, local: reg.IsLocal, every: every, log: up.log}
}

// run goes round until ctx ends.
func (r *recheck) run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := r.round(ctx); err != nil && ctx.Err() == nil {
			r.log.Error("devices could not be checked", "error", err)
			_ = wait.For(ctx, recheckGap) // the loop looks at ctx
		}
	}
	return nil
}

// round asks for every device once. Between two there is a pause, so that a round
// takes its time.
func (r *recheck) round(ctx context.Context) error {
	n, err := r.upstream.store.CountDevices(ctx)
	if err != nil {
		return err
	}
	gap := max(r.every/time.Duration(max(n, 1)), recheckGap)
	if n == 0 {
		_ = wait.For(ctx, gap) // the loop looks at ctx
	}
	for last := (pusherDevice{}); ctx.Err() == nil; {
		page, err := r.upstream.store.DevicesAfter(ctx, last, recheckPage)
		if err != nil || len(page) == 0 {
			return err
		}
		for _, d := range page {
			if wait.For(ctx, gap) != nil {
				break
			}
			if err := r.check(ctx, d, d.UserID != last.UserID); err != nil {
				return err
			}
			last = d
		}
	}
	return nil
}

// check asks for one device, and for the user's rules if the user is a new one. Only
// an error of our own is returned: what the homeserver does not tell changes nothing.
func (r *recheck) check(ctx context.Context, d pusherDevice, newUser bool) error {
	if !r.local(d.UserID) {
		return nil
	}
	if newUser {
		if err := r.refresh(ctx, d.UserID); err != nil {
			return err
		}
	}
	if d.DeviceID == "" {
		return nil
	}
	there, err := r.service.HasDevice(ctx, d.UserID, d.DeviceID)
	if told, err := r.told(ctx, err); err != nil || !told || there {
		return err
	}
	r.upstream.tokens.forget(d.UserID, d.DeviceID)
	gone, err := r.upstream.store.DeviceGone(ctx, d)
	logRemoved(r.log, gone)
	return err
}

// refresh fetches a user's push rules, and whom the user ignores.
func (r *recheck) refresh(ctx context.Context, user events.UserID) error {
	u := r.upstream
	// What is fetched of an account that is deactivated meanwhile is not stored.
	ctx = u.tokens.withClaim(ctx, Identity{UserID: user, asked: u.tokens.gone.now()})
	rules := func(ctx context.Context) (json.RawMessage, error) { return r.service.PushRulesOf(ctx, user) }
	ignored := func(ctx context.Context) (json.RawMessage, error) { return r.service.IgnoredUsersOf(ctx, user) }
	if _, err := r.told(ctx, u.take(ctx, user, rules, u.store.takePublished)); err != nil {
		return err
	}
	_, err := r.told(ctx, u.take(ctx, user, ignored, u.store.takeIgnored))
	return err
}

// told says whether the homeserver told what it was asked for. An error of its own is
// dropped, and the first of a row logged.
func (r *recheck) told(ctx context.Context, err error) (bool, error) {
	theirs := errors.Is(err, homeserver.ErrCannotTell) || errors.Is(err, homeserver.ErrRefused) || errors.Is(err, homeserver.ErrUnknownToken)
	switch {
	case err == nil:
		r.failing = false
		return true, nil
	case errors.Is(err, errLoggedOut):
		return false, nil // the next round asks again
	case !theirs || ctx.Err() != nil:
		return false, err
	case !r.failing:
		r.failing = true
		r.log.Warn("the homeserver does not say which devices are there, pushers stay", "error", err)
	}
	return false, nil
}
