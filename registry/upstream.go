package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"hash/maphash"
	"io"
	"log/slog"
	"net/http"
	"sync/atomic"

	"poked/events"
	"poked/events/homeserver"
	"poked/events/httpserve"
	"poked/events/pushgateway"
	"poked/registry/auth"
	"poked/registry/database"
	"poked/registry/store"
)

// upstream is the homeserver that keeps push rules, which its clients also read from
// /sync, devices, and pushers of other kinds than ours.
type upstream struct {
	client *homeserver.Client
	tokens *auth.HomeserverTokens
	db     *database.DB
	store  *store.Store
	policy *pushgateway.Policy
	log    *slog.Logger

	// turns serialise fetching and storing the account data and the pushers of one user, so
	// that an older answer never overwrites a newer one. Users share them by hash.
	turns [64]chan struct{}
	seed  maphash.Seed

	threads *threads // nil unless the operator offers the rules of subscriptions

	newcomers newcomers
	takenOver atomic.Uint64 // pushers
}

func newUpstream(client *homeserver.Client, tokens *auth.HomeserverTokens, db *database.DB, store *store.Store, policy *pushgateway.Policy, log *slog.Logger) (*upstream, error) {
	u := &upstream{client: client, tokens: tokens, db: db, store: store, policy: policy, log: log, seed: maphash.MakeSeed()}
	for i := range u.turns {
		u.turns[i] = make(chan struct{}, 1)
	}
	var err error
	u.newcomers, err = makeNewcomers()
	return u, err
}

// turn waits for a user's turn, in this registry and in all that share its database. The
// caller must store with the returned context, and call done at the end of the turn.
func (u *upstream) turn(ctx context.Context, user events.UserID) (held context.Context, done func(), err error) {
	turn := u.turns[maphash.String(u.seed, string(user))%uint64(len(u.turns))]
	select {
	case turn <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	held, release, err := u.db.Hold(ctx, "turn "+string(user))
	if err != nil {
		<-turn
		return nil, nil, err
	}
	return held, func() { release(); <-turn }, nil
}

// account returns the client's account at the homeserver.
func (u *upstream) account(c *call) homeserver.Account {
	token, _, _ := httpserve.Tokens(c.request) // checked before
	return u.client.Account(c.identity.UserID, token)
}

// forward sends a request to the homeserver under the v3 prefix, and leaves its body
// readable.
func (u *upstream) forward(ctx context.Context, c *call) (*homeserver.Answer, error) {
	body, err := c.body()
	if err != nil {
		return nil, err
	}
	c.request.Body = io.NopCloser(bytes.NewReader(body))
	if c.request.Method != http.MethodGet { // it may be executed, also if the client is gone by now
		ctx = context.WithoutCancel(ctx)
	}
	answer, err := u.client.Forward(ctx, c.request, todaysPath(c.request.URL.EscapedPath()), body)
	if err != nil {
		return nil, auth.Refusal(err)
	}
	if answer.Errcode() == "M_UNKNOWN_TOKEN" && c.identity.UserID != "" {
		u.tokens.Refuse(c.identity.UserID, c.identity.DeviceID)
	}
	return answer, nil
}

// fetchRules fetches the client's push rules from the homeserver and stores them.
func (u *upstream) fetchRules(ctx context.Context, c *call) error {
	return u.answered(c, u.takeRules(ctx, u.account(c)))
}

// fetchAccount fetches the client's account data.
func (u *upstream) fetchAccount(ctx context.Context, c *call) error {
	return u.answered(c, u.takeAccount(ctx, u.account(c)))
}

// answered turns an error of a request with the client's own token into the client's
// answer.
func (u *upstream) answered(c *call, err error) error {
	if errors.Is(err, homeserver.ErrUnknownToken) {
		u.tokens.Refuse(c.identity.UserID, c.identity.DeviceID)
	}
	if err != nil {
		return auth.Refusal(err)
	}
	return nil
}

// takeAccount fetches and stores what a user's account data says about notifications: push
// rules, ignored users, and where the user wants no pokes. It also fetches subscriptions to threads, but
// nothing fails if the homeserver does not tell them.
func (u *upstream) takeAccount(ctx context.Context, account homeserver.Account) error {
	for _, take := range u.accountData() {
		if err := take(ctx, account); err != nil {
			return err
		}
	}
	if err := u.takeThreads(ctx, account); err != nil {
		u.log.Warn("subscriptions to threads cannot be fetched, those made without poked do not count yet", "user_id", string(account.User()), "error", err)
	}
	return nil
}

// accountData returns what fetches and stores each kind of it.
func (u *upstream) accountData() []func(context.Context, homeserver.Account) error {
	return []func(context.Context, homeserver.Account) error{u.takeRules, u.takeIgnored, u.takeDoNotDisturb}
}

func (u *upstream) takeDoNotDisturb(ctx context.Context, account homeserver.Account) error {
	if !u.store.Options().DoNotDisturb {
		return nil
	}
	return u.take(ctx, account.User(), account.DoNotDisturb, takeDoNotDisturb)
}

func (u *upstream) takeRules(ctx context.Context, account homeserver.Account) error {
	return u.take(ctx, account.User(), account.PushRules, takePublished)
}

func (u *upstream) takeIgnored(ctx context.Context, account homeserver.Account) error {
	return u.take(ctx, account.User(), account.IgnoredUsers, takeIgnored)
}

// asking fetches account data from the homeserver, storing checks it and writes it to the database.
type (
	asking  func(context.Context) (json.RawMessage, error)
	storing func(context.Context, *store.Store, events.UserID, json.RawMessage) error
)

// take fetches a user's account data from the homeserver and stores it. It changes
// nothing if the homeserver does not support it, or returns more than the limits allow.
func (u *upstream) take(ctx context.Context, user events.UserID, ask asking, keep storing) error {
	ctx, done, err := u.turn(ctx, user)
	if err != nil {
		return err
	}
	defer done()
	content, err := ask(ctx)
	if homeserver.IsErrcode(err, "M_UNRECOGNIZED") {
		return nil
	}
	if err != nil {
		return err
	}
	err = keep(ctx, u.store, user, content)
	if errors.Is(err, events.ErrBadEvent) {
		u.log.Warn("account data of the homeserver cannot be used, the previous stays", "user_id", string(user), "error", err)
		return nil
	}
	return err
}
