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

// recheck asks the homeserver, as an application service, whether each device with
// pushers still exists, one after the other in endless rounds, since homeservers do not
// announce logouts. It also refreshes each user's push rules and ignored users, which may
// have changed without a request through poked.
type recheck struct {
	upstream *upstream
	service  *homeserver.Service
	local    func(events.UserID) bool
	every    time.Duration // duration of one round; longer if recheckGap requires it
	log      *slog.Logger

	failing bool // the last request to the homeserver failed
}

const (
	// recheckGap is the shortest pause between two devices.
	recheckGap = 500 * time.Millisecond
	// recheckPage is how many devices are read from the database at once.
	recheckPage = 100
)

func newRecheck(up *upstream, service *homeserver.Service, reg *homeserver.Registration, every time.Duration) *recheck {
	return &recheck{upstream: up, service: service, local: reg.IsLocal, every: every, log: up.log}
}

// run repeats rounds until ctx ends.
func (r *recheck) run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := r.round(ctx); err != nil && ctx.Err() == nil {
			r.log.Error("devices could not be checked", "error", err)
			_ = wait.For(ctx, recheckGap) // the loop checks ctx
		}
	}
	return nil
}

// round checks every device once, spread evenly over the duration of a round.
func (r *recheck) round(ctx context.Context) error {
	n, err := r.upstream.store.CountDevices(ctx)
	if err != nil {
		return err
	}
	gap := max(r.every/time.Duration(max(n, 1)), recheckGap)
	if n == 0 {
		_ = wait.For(ctx, gap) // the loop checks ctx
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

// check checks one device and, for the first device of each user, refreshes the user's
// rules. It returns only errors of our own; if the homeserver fails, nothing changes.
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
	if answered, err := r.answered(ctx, err); err != nil || !answered || there {
		return err
	}
	r.upstream.tokens.forget(d.UserID, d.DeviceID)
	gone, err := r.upstream.store.DeviceGone(ctx, d)
	logRemoved(r.log, gone)
	return err
}

// refresh fetches a user's push rules and ignored users.
func (r *recheck) refresh(ctx context.Context, user events.UserID) error {
	u := r.upstream
	// If the account is deactivated meanwhile, the answers are not stored.
	ctx = u.tokens.withClaim(ctx, Identity{UserID: user, asked: u.tokens.gone.now()})
	rules := func(ctx context.Context) (json.RawMessage, error) { return r.service.PushRulesOf(ctx, user) }
	ignored := func(ctx context.Context) (json.RawMessage, error) { return r.service.IgnoredUsersOf(ctx, user) }
	if _, err := r.answered(ctx, u.take(ctx, user, rules, u.store.takePublished)); err != nil {
		return err
	}
	_, err := r.answered(ctx, u.take(ctx, user, ignored, u.store.takeIgnored))
	return err
}

// answered reports whether the homeserver answered. It drops the homeserver's own errors
// and logs the first of a series.
func (r *recheck) answered(ctx context.Context, err error) (bool, error) {
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
		r.log.Warn("the homeserver cannot be asked about devices, all pushers stay", "error", err)
	}
	return false, nil
}
