package registry

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"poked/events"
	"poked/events/homeserver"
	"poked/events/wait"
	"poked/registry/store"
)

// recheck asks the homeserver, as an application service, whether each device with
// pushers still exists, one after the other in endless rounds, since homeservers do not
// announce logouts. It also refreshes each user's push rules and ignored users, and takes
// over pushers, which may have changed without a request through poked.
//
// Clients go to the homeserver itself while poked is down or hangs. So the first round, and
// the one after such a time, is quick: it does not spread the requests over an hour.
type recheck struct {
	upstream *upstream
	service  *homeserver.Service
	notices  *store.Notices
	known    *homeserver.Introduction
	local    func(events.UserID) bool
	every    time.Duration // duration of one round; longer if recheckGap requires it
	log      *slog.Logger

	missed chan struct{} // signals that clients may have gone to the homeserver itself
	soon   *soon

	failing bool // the last request to the homeserver failed
	inRow   int  // requests that failed since the last that did not
}

const (
	// recheckGap is the shortest pause between two devices, quickGap the pause in a quick
	// round.
	recheckGap = 500 * time.Millisecond
	quickGap   = 20 * time.Millisecond
	// recheckPage is how many devices are read from the database at once.
	recheckPage = 100
	// awayAfter is how many failures in a row end a quick round: the homeserver is away.
	awayAfter = 5
	// awayPause is the pause after such a round. It doubles up to the duration of a round.
	awayPause = 5 * time.Second
	// heldAtOnce is how many imported users are fetched in parallel.
	heldAtOnce = 4
)

// errMissed ends a round for a quick one, errAway ends a quick one.
var (
	errMissed = errors.New("clients may have gone to the homeserver itself")
	errAway   = errors.New("the homeserver does not answer")
)

func newRecheck(up *upstream, service *homeserver.Service, reg *homeserver.Registration, notices *store.Notices, every time.Duration) *recheck {
	return &recheck{
		upstream: up, service: service, notices: notices, known: homeserver.Introduce(service, up.log), local: reg.IsLocal, every: every, log: up.log,
		missed: make(chan struct{}, 1), soon: newSoon(),
	}
}

// run repeats rounds until ctx ends, in one of the registries that share a database.
func (r *recheck) run(ctx context.Context) error {
	r.known.Run(ctx)
	r.upstream.newcomers.open.Store(true)
	return r.upstream.db.Lead(ctx, "recheck", r.lead)
}

// lead repeats rounds until ctx ends. The first is quick, and refreshes every user.
func (r *recheck) lead(ctx context.Context) error {
	r.soon.clear()
	quick, away := true, awayPause
	for ctx.Err() == nil {
		err := r.round(ctx, quick)
		switch {
		case ctx.Err() != nil:
		case err == nil:
			quick, away = false, awayPause
		case errors.Is(err, errMissed):
			quick = true
			r.upstream.newcomers.seen.Purge()
		case errors.Is(err, errAway):
			quick = true
			_ = wait.For(ctx, away) // the loop checks ctx
			away = min(2*away, r.every)
		default:
			r.log.Error("devices could not be checked", "error", err)
			_ = wait.For(ctx, recheckGap) // as above
		}
	}
	return nil
}

// round checks every device once. Unless it is quick it is spread evenly over its duration.
func (r *recheck) round(ctx context.Context, quick bool) error {
	if err := r.release(ctx); err != nil {
		return err
	}
	n, err := r.upstream.store.CountDevices(ctx)
	if err != nil {
		return err
	}
	gap := max(r.every/time.Duration(max(n, 1)), recheckGap)
	if quick {
		gap = quickGap
	}
	if n == 0 {
		return r.pause(ctx, max(gap, recheckGap))
	}
	for last := (store.Device{}); ctx.Err() == nil; {
		page, err := r.upstream.store.DevicesAfter(ctx, last, recheckPage)
		if err != nil || len(page) == 0 {
			return err
		}
		for _, d := range page {
			if err := r.pause(ctx, gap); err != nil {
				return err
			}
			if err := r.check(ctx, d, d.UserID != last.UserID); err != nil {
				return err
			}
			if quick && r.inRow >= awayAfter {
				return errAway
			}
			last = d
		}
	}
	return nil
}

// pause waits. Meanwhile it refreshes users whose account is known to have changed.
func (r *recheck) pause(ctx context.Context, gap time.Duration) error {
	end := time.Now().Add(gap)
	for {
		for user, ok := r.soon.next(time.Now()); ok; user, ok = r.soon.next(time.Now()) {
			if err := r.refresh(ctx, user); err != nil {
				return err
			}
		}
		left := time.Until(end)
		if left <= 0 {
			return nil
		}
		timer := time.NewTimer(min(left, r.soon.until(left)))
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-r.missed:
			timer.Stop()
			return errMissed
		case <-r.soon.woken:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// release fetches the rules of imported users and publishes their pushers after that, so
// that their first poke follows their rules.
func (r *recheck) release(ctx context.Context) error {
	held, err := r.upstream.store.Held(ctx)
	if err != nil {
		return err
	}
	group := errgroup.Group{}
	group.SetLimit(heldAtOnce)
	for _, user := range held {
		group.Go(func() error {
			if r.local(user) {
				err := r.upstream.takeAccount(ctx, r.service.Account(user))
				r.known.Note(err)
				switch {
				case err == nil, errors.Is(err, homeserver.ErrRefused):
				case errors.Is(err, homeserver.ErrCannotTell), errors.Is(err, homeserver.ErrUnknownToken):
					r.log.Warn("the push rules of an imported user cannot be fetched, nothing is poked before that", "user_id", string(user), "error", err)
					return errAway
				default:
					return err
				}
			}
			return r.upstream.store.Release(ctx, user)
		})
	}
	return group.Wait()
}

// check checks one device and, for the first device of each user, refreshes what is known
// of the user. It returns only errors of our own; if the homeserver fails, nothing changes.
func (r *recheck) check(ctx context.Context, d store.Device, newUser bool) error {
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
	there, err := r.service.Account(d.UserID).HasDevice(ctx, d.DeviceID)
	if answered, err := r.answered(ctx, err); err != nil || !answered || there {
		return err
	}
	r.upstream.tokens.Forget(d.UserID, d.DeviceID)
	gone, err := r.upstream.store.DeviceGone(ctx, d)
	store.LogRemoved(r.log, gone)
	return err
}

// refresh fetches a user's account data and subscriptions to threads, and takes over pushers.
func (r *recheck) refresh(ctx context.Context, user events.UserID) error {
	if !r.local(user) {
		return nil
	}
	u, account := r.upstream, r.service.Account(user)
	// If the account is deactivated meanwhile, the answers are not stored.
	ctx, err := u.tokens.ClaimNow(ctx, user)
	if err != nil {
		return err
	}
	for _, take := range append(u.accountData(), u.takeThreads, u.takeOver) {
		if _, err := r.answered(ctx, take(ctx, account)); err != nil {
			return err
		}
	}
	return nil
}

// answered reports whether the homeserver answered. It drops the homeserver's own errors
// and logs the first of a series.
func (r *recheck) answered(ctx context.Context, err error) (bool, error) {
	r.known.Note(err)
	theirs := errors.Is(err, homeserver.ErrCannotTell) || errors.Is(err, homeserver.ErrRefused) || errors.Is(err, homeserver.ErrUnknownToken)
	switch {
	case err == nil:
		r.failing, r.inRow = false, 0
		return true, nil
	case errors.Is(err, store.ErrLoggedOut):
		return false, nil // the next round asks again
	case !theirs || ctx.Err() != nil:
		return false, err
	case !errors.Is(err, homeserver.ErrRefused):
		r.inRow++
	}
	if !r.failing {
		r.failing = true
		r.log.Warn("the homeserver cannot be asked about devices, all pushers stay", "error", err)
	}
	return false, nil
}
