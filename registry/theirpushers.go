package registry

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	lru "github.com/hashicorp/golang-lru/v2"

	"poked/events"
	"poked/events/homeserver"
	"poked/registry/problem"
	"poked/registry/request"
)

// The homeserver keeps pushers, too: those of kinds that poked does not deliver, such as
// email, and HTTP pushers that were set before poked ran, or while it was down and the
// reverse proxy sent clients to the homeserver. The first stay there, and a client sees and
// deletes both. The second are moved to the registry, since the homeserver would poke
// as well: each is stored here, then deleted there. A crash in between, or a homeserver
// that does not answer, leaves it in both until the next attempt; nothing is lost.
//
// A pusher is moved only if its device is certain, so that it goes with its device. Until
// then it stays at the homeserver, which delivers it and removes it at logout; it comes
// here when its client sets it the next time.

// pushersThere returns the pushers that the homeserver has of a user, none if it has no
// API for them.
func (u *upstream) pushersThere(ctx context.Context, account homeserver.Account) ([]homeserver.Pusher, error) {
	list, err := account.Pushers(ctx)
	if errors.Is(err, homeserver.ErrRefused) {
		return nil, nil
	}
	return list, err
}

// deleteThere deletes one pusher at the homeserver, if it has it.
func (u *upstream) deleteThere(ctx context.Context, account homeserver.Account, appID, pushkey string) error {
	list, err := u.pushersThere(ctx, account)
	if err != nil {
		return err
	}
	for i := range list {
		if list[i].AppID == appID && list[i].Pushkey == pushkey {
			return account.DeletePusher(ctx, appID, pushkey)
		}
	}
	return nil
}

// setHere calls set in the user's turn, after the pusher is deleted at the homeserver: it
// is only here after that, or nowhere. The user's rules are fetched first, so that the first
// poke follows them.
func (u *upstream) setHere(ctx context.Context, c *call, req *request.Set, set func(context.Context) error) error {
	if !req.Remove {
		if err := u.fetchAccount(ctx, c); err != nil {
			return err
		}
	}
	ctx, done, err := u.turn(ctx, c.identity.UserID)
	if err != nil {
		return err
	}
	defer done()
	if err := u.deleteThere(ctx, u.account(c), req.Pusher.AppID, req.Pusher.Pushkey); err != nil {
		return u.answered(c, err)
	}
	return set(ctx)
}

// setThere passes a request for a pusher that is not ours to the homeserver. It returns
// nil if the homeserver has no API for pushers. remove removes ours of the same name, which
// it replaces.
func (u *upstream) setThere(ctx context.Context, c *call, remove func(context.Context) error) (*homeserver.Answer, error) {
	ctx, done, err := u.turn(ctx, c.identity.UserID)
	if err != nil {
		return nil, err
	}
	defer done()
	answer, err := u.forward(ctx, c)
	switch {
	case err != nil:
		return nil, err
	case answer.Errcode() == "M_UNRECOGNIZED":
		return nil, nil
	case answer.Status/100 != 2:
		return answer, nil
	}
	return answer, remove(ctx)
}

// takeOver moves the HTTP pushers that the homeserver has of a user to the registry.
func (u *upstream) takeOver(ctx context.Context, account homeserver.Account) error {
	list, err := u.pushersThere(ctx, account)
	if err != nil || !hasHTTP(list) {
		return err
	}
	if err := u.takeAccount(ctx, account); err != nil {
		return err
	}
	ctx, done, err := u.turn(ctx, account.User())
	if err != nil {
		return err
	}
	defer done()
	if list, err = u.pushersThere(ctx, account); err != nil { // again, for a client may have set one meanwhile
		return err
	}
	here, err := u.store.Pushers(ctx, account.User())
	if err != nil {
		return err
	}
	for i := range list {
		if p := &list[i]; p.Kind == events.KindHTTP {
			if err := u.move(ctx, account, p, here.Pushers); err != nil {
				return err
			}
		}
	}
	return nil
}

func hasHTTP(list []homeserver.Pusher) bool {
	for i := range list {
		if list[i].Kind == events.KindHTTP {
			return true
		}
	}
	return false
}

// move moves one pusher. One that the registry cannot have stays at the homeserver.
func (u *upstream) move(ctx context.Context, account homeserver.Account, p *homeserver.Pusher, here []events.Pusher) error {
	user := account.User()
	log := u.log.With("user_id", string(user), "pusher", string(events.NewPusherID(user, p.AppID, p.Pushkey)))
	device, certain, err := deviceOf(ctx, account, p, here)
	if err != nil || !certain {
		log.Debug("a pusher stays at the homeserver until its client sets it: its device is not known")
		return err
	}
	req, err := request.ParseSet(p.Raw, false, false, u.policy)
	if err == nil {
		req.Pusher.DeviceID = device
		err = u.store.TakeOver(ctx, user, req.Pusher)
	}
	var refused *problem.Error
	if errors.As(err, &refused) {
		log.Debug("a pusher stays at the homeserver", "error", err)
		return nil
	}
	if err != nil {
		return err
	}
	if err := account.DeletePusher(ctx, p.AppID, p.Pushkey); err != nil {
		return err
	}
	u.takenOver.Add(1)
	log.Info("pusher taken over from the homeserver")
	return nil
}

// deviceOf returns the device that a pusher of the homeserver belongs to, and whether that
// is certain: the one that the homeserver names, or the only one that the user has. A pusher
// that is here as well keeps the device that it has here, even none.
func deviceOf(ctx context.Context, account homeserver.Account, p *homeserver.Pusher, here []events.Pusher) (device string, certain bool, err error) {
	if p.DeviceID != "" {
		return p.DeviceID, true, nil
	}
	for i := range here {
		if h := &here[i]; h.AppID == p.AppID && h.Pushkey == p.Pushkey {
			return h.DeviceID, true, nil
		}
	}
	devices, err := account.Devices(ctx)
	if errors.Is(err, homeserver.ErrRefused) || err == nil && len(devices) != 1 {
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	return devices[0], true, nil
}

const (
	// rememberedNewcomers bounds how many users are known to have been seen.
	rememberedNewcomers = 10_000
	// waitingNewcomers bounds how many wait to be looked at.
	waitingNewcomers = 256
)

// newcomers are the users whose clients were seen for the first time since the start, or
// since what is known of the homeserver may be outdated. Their pushers are taken over.
type newcomers struct {
	seen    *lru.Cache[events.UserID, struct{}]
	waiting chan homeserver.Account
	// open is set once pushers may be taken over: with a registration, once the homeserver
	// is known to have loaded it. Otherwise poked would take pushers that it cannot poke.
	open *atomic.Bool
}

func makeNewcomers() (newcomers, error) {
	seen, err := lru.New[events.UserID, struct{}](rememberedNewcomers)
	if err != nil {
		return newcomers{}, fmt.Errorf("remember users: %w", err)
	}
	return newcomers{seen: seen, waiting: make(chan homeserver.Account, waitingNewcomers), open: new(atomic.Bool)}, nil
}

// meet notes that a client of this account was seen.
func (n *newcomers) meet(account homeserver.Account) {
	if !n.open.Load() || n.seen.Contains(account.User()) {
		return
	}
	select {
	case n.waiting <- account:
		n.seen.Add(account.User(), struct{}{})
	default: // the next request of the user tries again
	}
}

// greet takes over the pushers of newcomers until ctx ends.
func (u *upstream) greet(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case account := <-u.newcomers.waiting:
			claimed, err := u.tokens.ClaimNow(ctx, account.User())
			if err == nil {
				err = u.takeOver(claimed, account)
			}
			if err != nil && ctx.Err() == nil {
				u.newcomers.seen.Remove(account.User())
				u.log.Debug("pushers of a user could not be taken over", "user_id", string(account.User()), "error", err)
			}
		}
	}
}
