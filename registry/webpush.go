package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"poked/events"
	"poked/events/pushgateway"
	"poked/events/stream"
	"poked/events/wait"
	"poked/events/webpush"
	"poked/registry/store"
)

// With a subject (Config.WebPushSubject) clients may set browsers as pushers (MSC4174).
//
//	set ──▶ row, inactive, digest of a token ──▶ token pushed to the browser ──▶ ack ──▶ active
//
// The registry pushes the token itself, since only the client's next request tells whether it
// arrived: a dispatcher, with its lanes and positions, would have to be told the token by way of
// NATS, where everything is stored. Dispatchers poke browsers once they are active.
//
// Pushing is tried for as long as the token is valid, as the push service allows. One that says
// that the subscription is gone removes the pusher. One that refuses the request leaves it
// inactive, with the reason: it may be our fault.

// browsers asks browsers for acknowledgements, and holds the key by which push services know
// poked. It is nil if Web Push is off.
type browsers struct {
	store   *store.Store
	conn    *stream.Conn
	policy  *pushgateway.Policy
	key     *webpush.Key
	subject string
	signer  *webpush.Signer
	http    *http.Client
	log     *slog.Logger

	fresh  chan *store.Question
	places chan struct{} // one for each question that is being asked
	back   chan struct{} // signals that the connection to NATS was restored
	asked  atomic.Uint64 // tokens that push services took
	failed atomic.Uint64 // tokens that could not be pushed
}

const (
	askTimeout = 30 * time.Second
	askPlaces  = 64
	askQueue   = 256
	// leftToAskEvery is how often to look for tokens that a process which ended has left.
	leftToAskEvery = 5 * time.Second
	askFirst       = time.Second
	askLimit       = 30 * time.Second
	maxPushAnswer  = 64 << 10
)

// openBrowsers returns nil without a subject. It makes the key if the database has none; with
// several registries they agree on one. A database that was lost gets the key that NATS has,
// since no browser knows another.
func openBrowsers(ctx context.Context, subject string, s *store.Store, conn *stream.Conn, policy *pushgateway.Policy, log *slog.Logger) (*browsers, error) {
	if subject == "" {
		return nil, nil
	}
	key, err := openVAPID(ctx, s, conn, log)
	if err != nil {
		return nil, err
	}
	signer, err := webpush.NewSigner(key, subject)
	if err != nil {
		return nil, fmt.Errorf("open web push: %w", err)
	}
	b := &browsers{
		store: s, conn: conn, policy: policy, key: key, subject: subject, signer: signer, log: log,
		fresh: make(chan *store.Question, askQueue), places: make(chan struct{}, askPlaces), back: make(chan struct{}, 1),
		http: &http.Client{
			Timeout:       askTimeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Transport: &http.Transport{
				DialContext:         policy.Dialer(net.Dialer{Timeout: askTimeout / 3}),
				TLSHandshakeTimeout: askTimeout / 3, MaxResponseHeaderBytes: maxPushAnswer,
				DisableKeepAlives: true, // few requests to many services
			},
		},
	}
	conn.OnReconnect(func() { wait.Wake(b.back) })
	return b, nil
}

// openVAPID returns the key of the database, and makes it if there is none.
func openVAPID(ctx context.Context, s *store.Store, conn *stream.Conn, log *slog.Logger) (*webpush.Key, error) {
	secret, err := s.VAPID(ctx)
	if err != nil {
		return nil, err
	}
	if secret == "" {
		there, found, err := conn.VAPID(ctx)
		if err != nil {
			return nil, fmt.Errorf("look for a vapid key in nats: %w", err)
		}
		made, err := webpush.NewKey()
		if err != nil {
			return nil, fmt.Errorf("open web push: %w", err)
		}
		if secret = made.Secret(); found {
			secret = there.PrivateKey
			log.Warn("the database has no vapid key, it gets the one that nats has")
		}
		if secret, err = s.KeepVAPID(ctx, secret); err != nil {
			return nil, err
		}
	}
	key, err := webpush.ParseKey(secret)
	if err != nil {
		return nil, fmt.Errorf("read vapid key from the database: %w", err)
	}
	return key, nil
}

// run publishes the key and asks browsers until ctx ends.
func (b *browsers) run(ctx context.Context) error {
	var asking sync.WaitGroup
	defer asking.Wait()
	asking.Go(func() { b.publish(ctx) })
	look := time.NewTicker(leftToAskEvery)
	defer look.Stop()
	begin := func(ask *store.Question) {
		select {
		case b.places <- struct{}{}:
			asking.Go(func() {
				defer func() { <-b.places }()
				b.ask(ctx, ask)
			})
		default: // it is due again in a minute
		}
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case ask := <-b.fresh:
			begin(ask)
		case now := <-look.C:
			left, err := b.store.LeftToAsk(ctx, now, askPlaces)
			if err != nil && ctx.Err() == nil {
				b.log.Warn("browsers that were not asked yet cannot be read, trying again", "error", err)
			}
			for i := range left {
				begin(left[i])
			}
		}
	}
}

// publish stores the key in NATS for the dispatchers, and again whenever the connection was
// lost: the bucket may have been, too. The database wins.
func (b *browsers) publish(ctx context.Context) {
	for ctx.Err() == nil {
		there, found, err := b.conn.VAPID(ctx)
		if err == nil && found && there.PrivateKey != b.key.Secret() {
			b.log.Error("nats has another vapid key than the database: browsers that subscribed with that one get nothing until they subscribe again")
		}
		err = b.conn.PutVAPID(ctx, events.VAPID{PrivateKey: b.key.Secret(), Subject: b.subject})
		if err != nil {
			if ctx.Err() == nil {
				b.log.Warn("the vapid key cannot be published, trying again", "error", err)
			}
			_ = wait.For(ctx, wait.RetryPause) // the loop checks ctx
			continue
		}
		select {
		case <-ctx.Done():
		case <-b.back:
		}
	}
}

// add makes a browser be asked. It never waits: a token that finds no room is due again.
func (b *browsers) add(ask *store.Question) {
	select {
	case b.fresh <- ask:
	default:
	}
}

// ask pushes a token until the push service takes it or refuses it, or it expires.
func (b *browsers) ask(ctx context.Context, ask *store.Question) {
	log := b.log.With("user_id", string(ask.UserID), "app_id", ask.Pusher.AppID,
		"pusher", string(events.NewPusherID(ask.UserID, ask.Pusher.AppID, ask.Pusher.Pushkey)))
	for failures := 1; ; failures++ {
		answer := b.push(ctx, ask)
		if ctx.Err() != nil {
			return // it is due again after the restart
		}
		if answer.gone {
			b.remove(ctx, ask, answer)
			return
		}
		pause := max(rand.N(min(askFirst<<min(failures, 10), askLimit)), answer.retryAfter) //nolint:gosec // jitter
		last := !answer.again || !time.Now().Add(pause).Before(ask.Expires)
		again := time.Time{}
		if !last {
			again = time.Now().Add(pause)
		}
		err := b.store.Asked(ctx, ask, again, answer.failure)
		switch {
		case errors.Is(err, store.ErrAnswered):
			return
		case err != nil:
			log.Warn("what became of an activation token cannot be stored", "error", err)
		}
		switch {
		case answer.failure == "":
			b.asked.Add(1)
			log.Info("browser asked for an acknowledgement", "gateway", answer.gateway)
			return
		case last:
			b.failed.Add(1)
			log.Warn("browser cannot be asked for an acknowledgement, its pusher stays inactive until it is set again",
				"gateway", answer.gateway, "failure", answer.failure)
			return
		}
		log.Info("browser not asked yet, trying again", "gateway", answer.gateway, "failure", answer.failure, "retry_after", pause)
		if wait.For(ctx, pause) != nil {
			return
		}
	}
}

// remove removes the pusher of a subscription that the push service no longer has.
func (b *browsers) remove(ctx context.Context, ask *store.Question, answer pushAnswer) {
	b.failed.Add(1)
	gone, err := b.store.Reject(ctx, events.Rejection{
		UserID: ask.UserID, AppID: ask.Pusher.AppID, Pushkey: ask.Pusher.Pushkey, PushkeyTS: ask.Pusher.PushkeyTS, Gateway: answer.gateway,
	})
	if err != nil {
		b.log.Warn("pusher of a subscription that is gone cannot be removed", "user_id", string(ask.UserID), "error", err)
		return
	}
	store.LogRemoved(b.log, gone)
}

// pushAnswer is what became of one try.
type pushAnswer struct {
	gateway    string        // origin of the push service
	failure    string        // "" if it took the token
	gone       bool          // it does not have the subscription
	again      bool          // another try may succeed
	retryAfter time.Duration // what it asked for
}

// push pushes a token once (RFC 8030, section 5).
func (b *browsers) push(ctx context.Context, ask *store.Question) (answer pushAnswer) {
	request, err := b.request(ctx, ask)
	if err != nil {
		return pushAnswer{failure: "refused_url"} // the operator's lists may have changed since it was set
	}
	answer.gateway = request.URL.Scheme + "://" + request.URL.Host
	response, err := b.http.Do(request)
	if err != nil {
		answer.failure, answer.again = "network", true
		if errors.Is(err, pushgateway.ErrBlocked) {
			answer.failure, answer.again = "blocked_address", false
		}
		return answer
	}
	defer func() { _ = response.Body.Close() }() // it was only read
	_, _ = io.CopyN(io.Discard, response.Body, maxPushAnswer)
	return answer.of(response)
}

// of completes the answer by a response.
func (a pushAnswer) of(response *http.Response) pushAnswer {
	status := response.StatusCode
	if status/100 == 2 {
		return a
	}
	a.failure = "http_" + strconv.Itoa(status)
	switch {
	case status == http.StatusNotFound, status == http.StatusGone:
		a.gone = true
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status == http.StatusTooManyRequests, status >= 500:
		a.again = true
		if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil && seconds > 0 {
			a.retryAfter = time.Duration(min(seconds, int(store.ActivationTTL/time.Second))) * time.Second
		}
	}
	return a
}

// request returns the request that pushes a token.
func (b *browsers) request(ctx context.Context, ask *store.Question) (*http.Request, error) {
	at, err := b.policy.CheckResource(ask.URL)
	if err != nil {
		return nil, err //nolint:wrapcheck // the caller knows what it means
	}
	subscription, err := webpush.ParseSubscription(ask.Pusher.Pushkey, ask.Auth)
	if err != nil {
		return nil, err //nolint:wrapcheck // as above
	}
	message, err := json.Marshal(map[string]string{"app_id": ask.Pusher.AppID, "ack_token": ask.Token})
	if err != nil {
		return nil, err
	}
	body, err := subscription.Seal(nil, message)
	if err != nil {
		return nil, err //nolint:wrapcheck // as above
	}
	authorization, err := b.signer.Authorization(at.WebOrigin(), time.Now())
	if err != nil {
		return nil, err //nolint:wrapcheck // as above
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, at.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header = http.Header{
		"Authorization": {authorization}, "Content-Encoding": {"aes128gcm"}, "Content-Type": {"application/octet-stream"},
		"Ttl":     {strconv.Itoa(max(0, int(time.Until(ask.Expires)/time.Second)))},
		"Urgency": {"high"}, "User-Agent": {"poked"},
	}
	return request, nil
}

// acknowledge answers POST pushers/ack (MSC4174).
func (a *api) acknowledge(ctx context.Context, c *call) (any, error) {
	f, err := c.fields()
	if err != nil {
		return nil, err
	}
	appID, token := f.text("app_id"), f.text("ack_token")
	if err := f.err(); err != nil {
		return nil, err
	}
	return struct{}{}, a.store.Acknowledge(ctx, c.identity.UserID, appID, token)
}

// created is an answer with status 201.
type created struct{}
