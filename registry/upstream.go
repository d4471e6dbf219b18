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
	"strings"

	"poked/events"
	"poked/events/homeserver"
	"poked/events/httpserve"
)

// upstream is the homeserver that keeps push rules, which its clients also read from
// /sync, and devices.
type upstream struct {
	client *homeserver.Client
	tokens *homeserverTokens
	store  *store
	log    *slog.Logger

	// turns serialise fetching and storing the account data of one user, so that an older
	// answer never overwrites a newer one. Users share them by hash.
	turns [64]chan struct{}
	seed  maphash.Seed
}

func newUpstream(client *homeserver.Client, tokens *homeserverTokens, store *store, log *slog.Logger) *upstream {
	u := &upstream{client: client, tokens: tokens, store: store, log: log, seed: maphash.MakeSeed()}
	for i := range u.turns {
		u.turns[i] = make(chan struct{}, 1)
	}
	return u
}

// passRules forwards a request for push rules to the homeserver. A change is answered
// after its effect is stored here as well; if that fails the client gets an error and can
// safely try again. If the homeserver does not support push rules, ours handles the
// request.
func (a *api) passRules(ours func(context.Context, *call) (any, error)) func(context.Context, *call) (any, error) {
	return func(ctx context.Context, c *call) (any, error) {
		answer, err := a.upstream.forward(ctx, c)
		if err != nil {
			return nil, err
		}
		if answer.Errcode() == "M_UNRECOGNIZED" {
			return ours(ctx, c)
		}
		if c.request.Method == http.MethodGet || answer.Status/100 != 2 {
			return answer, nil
		}
		return answer, a.upstream.fetchRules(ctx, c)
	}
}

// freshRules answers GET pushrules/ with the homeserver's global rules and the rules of
// devices stored here.
func (a *api) freshRules(ctx context.Context, c *call) (any, error) {
	if err := a.upstream.fetchRules(ctx, c); err != nil {
		return nil, err
	}
	return a.getRules(ctx, c)
}

// forward sends a request to the homeserver under the v3 prefix, and leaves its body
// readable.
func (u *upstream) forward(ctx context.Context, c *call) (*homeserver.Answer, error) {
	body, err := c.body()
	if err != nil {
		return nil, err
	}
	c.request.Body = io.NopCloser(bytes.NewReader(body))
	answer, err := u.client.Forward(ctx, c.request, todaysPath(c.request.URL.EscapedPath()), body)
	if err != nil {
		return nil, refusal(err)
	}
	if answer.Errcode() == "M_UNKNOWN_TOKEN" && c.identity.UserID != "" {
		u.tokens.forget(c.identity.UserID, c.identity.DeviceID)
	}
	return answer, nil
}

func todaysPath(path string) string {
	for _, prefix := range []string{prefixR0, prefixOriginal} {
		if rest, ok := strings.CutPrefix(path, prefix+"/"); ok {
			return prefixV3 + "/" + rest
		}
	}
	return path
}

// fetchRules fetches the client's push rules from the homeserver and stores them.
func (u *upstream) fetchRules(ctx context.Context, c *call) error {
	token, _, _ := httpserve.Tokens(c.request) // checked before
	return u.fetch(ctx, c, func(ctx context.Context) (json.RawMessage, error) {
		return u.client.PushRules(ctx, token)
	}, u.store.takePublished)
}

// fetchIgnored fetches the client's ignored users from the homeserver and stores them.
func (u *upstream) fetchIgnored(ctx context.Context, c *call) error {
	token, _, _ := httpserve.Tokens(c.request) // checked before
	return u.fetch(ctx, c, func(ctx context.Context) (json.RawMessage, error) {
		return u.client.IgnoredUsers(ctx, c.identity.UserID, token)
	}, u.store.takeIgnored)
}

// fetch fetches and stores account data with the client's own token.
func (u *upstream) fetch(ctx context.Context, c *call, ask asking, store storing) error {
	err := u.take(ctx, c.identity.UserID, ask, store)
	if errors.Is(err, homeserver.ErrUnknownToken) {
		u.tokens.forget(c.identity.UserID, c.identity.DeviceID)
	}
	if err != nil {
		return refusal(err)
	}
	return nil
}

// asking fetches account data from the homeserver, storing writes it to the database.
type (
	asking  func(context.Context) (json.RawMessage, error)
	storing func(context.Context, events.UserID, json.RawMessage) error
)

// take fetches a user's account data from the homeserver and stores it. It changes
// nothing if the homeserver does not support it, or returns more than the limits allow.
func (u *upstream) take(ctx context.Context, user events.UserID, ask asking, store storing) error {
	turn := u.turns[maphash.String(u.seed, string(user))%uint64(len(u.turns))]
	select {
	case turn <- struct{}{}:
		defer func() { <-turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	content, err := ask(ctx)
	if homeserver.IsErrcode(err, "M_UNRECOGNIZED") {
		return nil
	}
	if err != nil {
		return err
	}
	err = store(ctx, user, content)
	if errors.Is(err, events.ErrBadEvent) {
		u.log.Warn("account data of the homeserver cannot be used, the previous stays", "user_id", string(user), "error", err)
		return nil
	}
	return err
}

// relay writes the homeserver's answer to the client.
func relay(w http.ResponseWriter, answer *homeserver.Answer) (status int, errcode string) {
	for _, name := range []string{"Content-Type", "Retry-After", "Www-Authenticate", "Cache-Control"} {
		if values := answer.Header.Values(name); len(values) > 0 {
			w.Header()[name] = values
		}
	}
	w.WriteHeader(answer.Status)
	_, _ = w.Write(answer.Body) // fails only if the client disconnected
	return answer.Status, answer.Errcode()
}
