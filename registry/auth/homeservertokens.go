package auth

import (
	"context"
	"errors"
	"fmt"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sync/singleflight"

	"poked/events"
	"poked/events/homeserver"
	"poked/registry/problem"
	"poked/registry/store"
)

const (
	// rememberedTokens bounds each of two caches, of known and of unknown tokens. They
	// are separate so that guessed tokens cannot evict valid ones.
	rememberedTokens = 10_000
	refusalCache     = 5 * time.Second
	whoamiTimeout    = 10 * time.Second

	// maxStrangers bounds how many requests with uncached tokens are in flight to the
	// homeserver at once. The client of package homeserver has more connections than
	// that. A further request waits for up to strangerWait.
	maxStrangers = 16
	strangerWait = time.Second
	// maxAsked is how often the homeserver is asked about one token if logouts happen
	// meanwhile.
	maxAsked = 3
)

// HomeserverTokens authenticates tokens through the homeserver and caches the answers.
// At most one request per token is in flight. Failures are not cached. Requests with
// uncached tokens are limited to maxStrangers, so that guessed tokens cannot block known
// clients.
//
// A logout invalidates answers that were requested before it. Each answer therefore
// records when it was requested, and that is compared with later logouts
// ([departures]) before the answer is cached and before its request's changes are
// committed.
type HomeserverTokens struct {
	client    *homeserver.Client
	key       tokenKey
	keep      time.Duration
	known     *lru.Cache[tokenDigest, knownToken]
	refused   *lru.Cache[tokenDigest, refusedToken]
	flights   singleflight.Group
	strangers *semaphore.Weighted
	gone      *departures
	notices   *store.Notices // of other registries
	whoami    durations      // of the homeserver's answers
}

type knownToken struct {
	identity Identity
	until    time.Time
}

type refusedToken struct {
	err   error
	until time.Time
}

// NewHomeserverTokens returns tokens whose answers are cached for as long as keep. Notices tell of
// logouts that other registries know.
func NewHomeserverTokens(client *homeserver.Client, keep time.Duration, notices *store.Notices) (*HomeserverTokens, error) {
	known, err := lru.New[tokenDigest, knownToken](rememberedTokens)
	if err != nil {
		return nil, fmt.Errorf("remember tokens: %w", err)
	}
	refused, err := lru.New[tokenDigest, refusedToken](rememberedTokens)
	if err != nil {
		return nil, fmt.Errorf("remember tokens: %w", err)
	}
	gone, err := newDepartures()
	if err != nil {
		return nil, err
	}
	return &HomeserverTokens{
		client: client, key: newTokenKey(), keep: keep, known: known, refused: refused,
		strangers: semaphore.NewWeighted(maxStrangers), gone: gone, notices: notices,
	}, nil
}

// Lookup is an [Authenticator].
func (h *HomeserverTokens) Lookup(ctx context.Context, token string) (Identity, error) {
	digest, now := h.key.digest(token), time.Now()
	k, known := h.known.Get(digest)
	if known && now.Before(k.until) && h.notices.Heeded(ctx) {
		return k.identity, nil
	}
	if r, ok := h.refused.Get(digest); ok && now.Before(r.until) {
		return Identity{}, r.err
	}
	// The first client may disconnect while others wait for the same answer.
	flight := h.flights.DoChan(string(digest[:]), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), whoamiTimeout)
		defer cancel()
		if !known {
			leave, err := h.AdmitStranger(ctx)
			if err != nil {
				return Identity{}, err
			}
			defer leave()
		}
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

// AdmitStranger admits a request with an uncached token to the homeserver, or refuses it
// with a Retry-After. The caller must call leave once the homeserver has answered.
func (h *HomeserverTokens) AdmitStranger(ctx context.Context) (leave func(), err error) {
	bounded, cancel := context.WithTimeout(ctx, strangerWait)
	defer cancel()
	if h.strangers.Acquire(bounded, 1) != nil {
		return nil, &problem.Error{Kind: problem.LimitExceeded, Message: "too many requests with unknown access tokens", RetryAfter: strangerWait}
	}
	return func() { h.strangers.Release(1) }, nil
}

// ask asks the homeserver and caches its answer, counted from the time of the request.
// If the user it names was logged out meanwhile it asks again.
func (h *HomeserverTokens) ask(ctx context.Context, digest tokenDigest, token string) (Identity, error) {
	for range maxAsked {
		began, asked := time.Now(), h.gone.now()
		noted, err := h.notices.Latest(ctx)
		if err != nil {
			noted = 0 // older than every notice: nothing can be changed with this answer
		}
		owner, err := h.client.Whoami(ctx, token)
		h.whoami.add(time.Since(began))
		if errors.Is(err, homeserver.ErrUnknownToken) {
			err = fmt.Errorf("%w: %w", ErrUnknownToken, err)
			if k, ok := h.known.Peek(digest); ok {
				h.notices.Add(store.Notice{Kind: store.NoticeLogout, UserID: k.identity.UserID, DeviceID: k.identity.DeviceID})
			}
			h.known.Remove(digest)
			h.refused.Add(digest, refusedToken{err, began.Add(min(h.keep, refusalCache))})
		}
		if err != nil {
			return Identity{}, err
		}
		identity := Identity{UserID: owner.UserID, DeviceID: owner.DeviceID, asked: asked, noted: noted}
		if h.gone.unless(identity, func() { h.known.Add(digest, knownToken{identity, began.Add(h.keep)}) }) {
			return identity, nil
		}
	}
	return Identity{}, store.ErrLoggedOut
}

// Whoami returns how long the homeserver took to answer.
func (h *HomeserverTokens) Whoami() Histogram { return h.whoami.snapshot() }

// Remembered returns of how many tokens the owner is cached.
func (h *HomeserverTokens) Remembered() int { return h.known.Len() }

// Refuse forgets the tokens of one device, which the homeserver refuses, in every registry.
func (h *HomeserverTokens) Refuse(user events.UserID, device string) {
	h.Forget(user, device)
	h.notices.Add(store.Notice{Kind: store.NoticeLogout, UserID: user, DeviceID: device})
}

// ForgetAll removes all tokens from the caches.
func (h *HomeserverTokens) ForgetAll() {
	h.known.Purge()
	h.refused.Purge()
}

// Forget removes the tokens of one device, or with "" of all devices of the user, from
// the cache, and invalidates answers about them that are still in flight.
func (h *HomeserverTokens) Forget(user events.UserID, device string) {
	h.gone.add(user, device)
	for _, digest := range h.known.Keys() {
		k, ok := h.known.Peek(digest)
		if ok && k.identity.UserID == user && (device == "" || device == k.identity.DeviceID) && !h.gone.unless(k.identity, func() {}) {
			h.known.Remove(digest)
		}
	}
}
