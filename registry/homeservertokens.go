package registry

import (
	"context"
	"errors"
	"fmt"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"

	"poked/events"
	"poked/events/homeserver"
)

const (
	// rememberedTokens bounds how many tokens are remembered, and as many that are
	// nobody's: guesses do not push out those who belong here.
	rememberedTokens = 10_000
	refusalCache     = 5 * time.Second
	whoamiTimeout    = 10 * time.Second
)

// homeserverTokens asks the homeserver who a token belongs to, and believes the
// answer for a while. However many requests come with a token, one is on its way to
// the homeserver. What could not be asked is not remembered.
type homeserverTokens struct {
	client  *homeserver.Client
	key     tokenKey
	keep    time.Duration
	known   *lru.Cache[tokenDigest, knownToken]
	refused *lru.Cache[tokenDigest, refusedToken]
	flights singleflight.Group
}

type knownToken struct {
	identity Identity
	until    time.Time
}

type refusedToken struct {
	err   error
	until time.Time
}

func newHomeserverTokens(client *homeserver.Client, keep time.Duration) (*homeserverTokens, error) {
	known, err := lru.New[tokenDigest, knownToken](rememberedTokens)
	if err != nil {
		return nil, fmt.Errorf("remember tokens: %w", err)
	}
	refused, err := lru.New[tokenDigest, refusedToken](rememberedTokens)
	if err != nil {
		return nil, fmt.Errorf("remember tokens: %w", err)
	}
	return &homeserverTokens{client: client, key: newTokenKey(), keep: keep, known: known, refused: refused}, nil
}

// lookup is an [Authenticator].
func (h *homeserverTokens) lookup(ctx context.Context, token string) (Identity, error) {
	digest, now := h.key.digest(token), time.Now()
	if k, ok := h.known.Get(digest); ok && now.Before(k.until) {
		return k.identity, nil
	}
	if r, ok := h.refused.Get(digest); ok && now.Before(r.until) {
		return Identity{}, r.err
	}
	// Who asked first may go away; the others still want to know.
	flight := h.flights.DoChan(string(digest[:]), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), whoamiTimeout)
		defer cancel()
		return h.ask(ctx, digest, token)
	})
	select {
	case answer := <-flight:
		if answer.Err != nil {
			return Identity{}, answer.Err
		}
		identity, _ := answer.Val.(Identity) // nothing else is returned
		return identity, nil
	case <-ctx.Done():
		return Identity{}, fmt.Errorf("ask the homeserver: %w", ctx.Err())
	}
}

// ask asks the homeserver, and remembers what it said for a time that begins when
// it was asked.
func (h *homeserverTokens) ask(ctx context.Context, digest tokenDigest, token string) (Identity, error) {
	began := time.Now()
	who, err := h.client.Whoami(ctx, token)
	if errors.Is(err, homeserver.ErrUnknownToken) {
		err = fmt.Errorf("%w: %w", ErrUnknownToken, err)
		h.known.Remove(digest)
		h.refused.Add(digest, refusedToken{err, began.Add(min(h.keep, refusalCache))})
	}
	if err != nil {
		return Identity{}, err
	}
	identity := Identity{UserID: who.UserID, DeviceID: who.DeviceID}
	h.known.Add(digest, knownToken{identity, began.Add(h.keep)})
	return identity, nil
}

// forget forgets the tokens of a user, or of one of the user's devices.
func (h *homeserverTokens) forget(user events.UserID, device string) {
	for _, digest := range h.known.Keys() {
		k, ok := h.known.Peek(digest)
		if ok && k.identity.UserID == user && (device == "" || device == k.identity.DeviceID) {
			h.known.Remove(digest)
		}
	}
}
