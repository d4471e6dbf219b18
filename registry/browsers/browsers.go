// Package browsers makes browsers pushers without a push gateway (Web Push, MSC4174).
//
//	set ──▶ row, inactive, digest of a token ──▶ token pushed to the browser ──▶ ack ──▶ active
//
// The registry pushes the token itself, since only the client's next request tells whether it
// arrived: a dispatcher, with its lanes and positions, would have to be told the token by way of
// NATS, where everything is stored. Dispatchers leave a browser alone until it is active.
//
// The key by which push services know poked (VAPID) is made once, and all browsers are bound to
// it: it is in the database, in its backups and copies, and in the bucket VAPID, from which
// dispatchers learn it and a database that lost it gets it back.
//
// # What fails, and how
//
//   - A push service does not take a token: it is pushed again for as long as the token is valid
//     (five minutes) and the push service allows. After that the pusher stays inactive, with the
//     reason, until it is set again.
//   - The push service says that the subscription is gone (404, 410): the pusher is removed.
//   - It refuses the request otherwise: the pusher stays inactive, since it may be our fault.
//   - A registry ends before it has pushed a token: it, or another, pushes a new one within a
//     minute or so, as long as the first would have been valid.
//   - The database and the bucket have different keys: the database wins, and the loss is logged.
package browsers

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"poked/events/pushgateway"
	"poked/events/stream"
	"poked/events/webpush"
	"poked/registry/store"
)

// Browsers asks browsers for acknowledgements, and holds the key by which push services know
// poked. It is nil if Web Push is off.
type Browsers struct {
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

// Open returns nil without a subject. It makes the key if the database has none; with
// several registries they agree on one. A database that was lost gets the key that NATS has,
// since no browser knows another.
func Open(ctx context.Context, subject string, s *store.Store, conn *stream.Conn, policy *pushgateway.Policy, log *slog.Logger) (*Browsers, error) {
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
	b := &Browsers{
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
	conn.OnReconnect(b.PublishAgain)
	return b, nil
}

// Run publishes the key and asks browsers until ctx ends.
func (b *Browsers) Run(ctx context.Context) error {
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

// Asked returns how many tokens push services took, and how many could not be pushed, since the
// start.
func (b *Browsers) Asked() (took, failed uint64) { return b.asked.Load(), b.failed.Load() }

// Add makes a browser be asked. It never waits: a token that finds no room is due again.
func (b *Browsers) Add(ask *store.Question) {
	select {
	case b.fresh <- ask:
	default:
	}
}
