// Package registry is where clients say where they want to be poked and about
// what: the pusher and push rule endpoints of the Matrix client-server API over
// HTTP, a SQLite database that only it opens, and an outbox that tells NATS what
// the database says. It also shows them what they have not read, of which it
// holds nothing.
//
//	client ──pushers, pushrules──▶ api ─┐                 ┌─▶ outbox ──Put…──▶ PUSHERS, PUSH_RULES ──▶ dispatchers
//	                                    ├─▶ store (SQLite)┘      ▲
//	NATS REJECTED, ACCOUNTS ────────────┘   one transaction:     └─ reconcile ◀──All… (both buckets)
//	                                        change, version, outbox
//	client ──notifications──▶ api ──ListNotifications──▶ NATS NOTIFICATIONS, ROOMS
//
// A request is routed by its path as it was sent (route.go): what is escaped in a
// rule id belongs to the id. It walks through authentication ([Authenticator]),
// the user's rate limit, decoding and validation (set.go, rule.go), and one
// transaction. Every failure becomes an apiError, and one place writes answers and
// errors alike.
//
// # Two buckets, one way
//
// What NATS is told of a user is a value: the user's pushers, or what the user
// wants to hear. Each has its version, its bucket and its rows in the outbox;
// telling, comparing and repairing do not know which of the two they handle
// (publication.go).
//
// # Push rules
//
// A user's own rules stand by scope, kind and id. The scope is "" for the global
// rules or the instance handle of one device, whose rules are asked for that
// device's pushers before the global ones; there are no predefined rules in it.
// Rules have positions with gaps between them, so that moving one rewrites that
// one (store_rule_order.go). Of predefined rules only what differs is kept, and
// nothing that was set back: they follow the specification, and a user on them has
// no key in the bucket. A change that changes nothing is not told.
//
// A homeserver that publishes a user's m.push_rules keeps that user's global rules:
// its ruleset is what clients are shown, and they are refused changes (403) until
// it takes it back. What they had made here before is kept for that time, and so
// are the rules of devices, which a homeserver does not know.
//
// Where the specification is silent or servers differ: deleting a predefined rule
// is M_INVALID_PARAM 400, since it is there (404) and yet cannot go; unknown
// actions are refused, unknown conditions kept; a rule that is set again without
// before or after stays where it is.
//
// # Notifications
//
// What a user has not read is looked up in NATS for each request
// (notifications.go): the same log that dispatchers count the badge from, so the
// list and the badge agree, and what is read is gone from both. The event is the
// homeserver's own for the 72 hours that ROOMS has it, and then what was poked of
// it. A page goes on from a sequence of the log, so what comes meanwhile moves
// nothing.
//
// # With a homeserver
//
// A homeserver that is asked (Config.Homeserver) says who a token belongs to
// (homeservertokens.go) and keeps the global push rules: requests for them are passed
// on, and what they change is fetched and told like any other change (upstream.go). At
// each set of a pusher the user's rules are fetched with the user's own token. What
// ends devices is watched where a proxy sends it here (watch.go); otherwise the
// homeserver is asked for every device in its turn (recheck.go). A logout overtakes what
// was asked for before it: no answer of the homeserver's and no request brings a token or
// a pusher back (departures.go). Of tokens that nobody knows few are asked for at the
// same time, and more are refused (429), so that the others find the homeserver free. No pusher goes and
// nobody is logged out because the homeserver is away: that is 502.
//
// # Guarantees
//
// G10: every query is bound to the user that the authenticator names; no part
// of a request names another. The one exception is the specification's: setting
// a pusher without "append" takes the same app_id and pushkey from other users.
//
// G11: 200 is answered after the commit of a transaction with synchronous=FULL
// that holds the change, the user's next version and an outbox row. The row is
// deleted only after the bucket has stored the user's value. What is published is
// read from the database at that moment, so several rows of one user may be told
// at once, and what is told is never older than the rows that go. Values are told
// side by side; one user's states in one bucket are told in order.
//
// G9: a pusher is named by its digest ([events.PusherID]) in logs and in the
// history of removed pushers; requests leave one line with the path's template, in
// which no rule id and no handle stands.
//
// Limits keep both values of a user within one NATS message each; see
// maxMaxPushers and maxRulesBytes.
//
// # What fails, and how
//
//   - NATS is away: requests are answered as ever and the outbox grows. It is
//     tried again with jittered backoff, and at once when NATS is back. Only
//     notifications cannot be listed then: M_UNKNOWN 503 with Retry-After.
//   - A crash between publishing and deleting the row: published again, the same
//     or newer.
//   - A bucket was lost, lags or is ahead (the database came from a backup): at
//     the start, after each reconnect and after each failure the buckets are
//     compared with the database, and users that differ go into the outbox, with
//     a version above the bucket's. The database is always right.
//   - The database was lost: [Open] refuses to begin with an empty one while the
//     buckets hold something, for it would empty them. [Restore] builds it anew
//     from them.
//   - A request shows two access tokens: 400, for the homeserver may take it for
//     somebody else's.
//   - A message from NATS cannot be read: package events makes it a dead letter.
//   - The disk is full, or another program holds the database locked: M_UNKNOWN 503
//     with Retry-After, nothing changed, and the registry is not ready. Whether it can
//     be written is asked every few seconds.
//   - The database is broken: M_UNKNOWN 500, nothing changed.
//   - A second registry on the same database, or a database that is newer than
//     the program: [Open] says so and fails.
//
// Of the work that arrives over NATS, a message is acknowledged after the commit
// of what it asks for, and everything it may ask for can be done twice.
package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"poked/events/homeserver"
	"poked/events/httpserve"
	"poked/events/pushgateway"
	"poked/events/stream"
)

// Limits of the HTTP server, beside those of package httpserve. An answer waits for a
// disk, for NATS no longer than listingTimeout, or for the homeserver, who is asked up
// to three times (homeserver.Client has a limit for each).
const (
	maxConns     = 4096
	writeTimeout = time.Minute
	stopTimeout  = 10 * time.Second
)

// Registry is a running registry; [Open] makes one.
type Registry struct {
	store    *store
	api      *api
	outbox   *outbox
	recheck  *recheck   // nil if the homeserver cannot be asked for devices
	tokens   *tokenFile // nil with a homeserver
	conn     *stream.Conn
	listener net.Listener
	log      *slog.Logger
}

// Open reads the token file, or the registration, opens the database, brings it to
// the program's schema and binds the listener. Nothing is served before
// [Registry.Run]; connections that come earlier wait. The topology must have been
// set up on conn. Errors are sentences that an operator can act upon.
func Open(ctx context.Context, cfg Config, policy *pushgateway.Policy, conn *stream.Conn, log *slog.Logger) (*Registry, error) {
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, err
	}
	who, err := openWhoAsks(cfg, log)
	if err != nil {
		return nil, err
	}
	limiter, err := newLimiter(cfg.Rate, cfg.Burst)
	if err != nil {
		return nil, err
	}
	store, err := openStore(ctx, cfg.Database, cfg.MaxPushers)
	if err != nil {
		return nil, err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.HTTP)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen for http: %w", err), store.Close())
	}
	if !cfg.StartEmpty {
		if err := checkNotLost(ctx, cfg.Database, store, conn); err != nil {
			return nil, errors.Join(err, listener.Close(), store.Close())
		}
	}
	r := &Registry{store: store, outbox: newOutbox(store, conn, log), tokens: who.file, conn: conn, listener: listener, log: log}
	up := who.upstream(store, log)
	r.api = newAPI(store, conn, policy, who.auth, up, limiter, log)
	if who.registration != nil {
		r.recheck = newRecheck(up, who.client.Service(who.registration.ASToken), who.registration, cfg.Recheck)
	}
	return r, nil
}

// whoAsks is what knows who asks: a file of tokens, or a homeserver.
type whoAsks struct {
	auth         Authenticator
	file         *tokenFile         // nil with a homeserver
	client       *homeserver.Client // nil without a homeserver, as is what follows
	tokens       *homeserverTokens
	registration *homeserver.Registration // nil if there is none
}

func openWhoAsks(cfg Config, log *slog.Logger) (who whoAsks, err error) {
	if cfg.Homeserver.URL == "" {
		if who.file, err = openTokenFile(cfg.Tokens, log); err != nil {
			return who, err
		}
		who.auth = who.file.lookup
		return who, nil
	}
	if cfg.Homeserver.Registration != "" {
		if who.registration, err = homeserver.ReadRegistration(cfg.Homeserver.Registration); err != nil {
			return who, err
		}
	}
	if who.client, err = homeserver.New(cfg.Homeserver.URL); err != nil {
		return who, err
	}
	if who.tokens, err = newHomeserverTokens(who.client, cfg.TokenCache); err != nil {
		return who, err
	}
	who.auth = who.tokens.lookup
	return who, nil
}

// upstream returns the homeserver whose word counts, or nil.
func (w *whoAsks) upstream(store *store, log *slog.Logger) *upstream {
	if w.client == nil {
		return nil
	}
	return newUpstream(w.client, w.tokens, store, log)
}

// Handler returns the HTTP API.
func (r *Registry) Handler() http.Handler { return r.api }

// Addr returns the address that HTTP listens on, with the port that was chosen
// for port 0.
func (r *Registry) Addr() string { return r.listener.Addr().String() }

// RereadTokens reads the token file now, without waiting until it has changed and stood
// still. After an error the tokens known before stay valid. With a homeserver there is
// nothing to read.
func (r *Registry) RereadTokens() error {
	if r.tokens == nil {
		return nil
	}
	return r.tokens.reread()
}

// Run serves HTTP, tells NATS what changed and does what arrives over NATS,
// until ctx ends. It then lets requests finish for up to 10 s and returns nil;
// what the outbox still holds is told at the next start.
func (r *Registry) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return r.serveHTTP(ctx) })
	group.Go(func() error { return r.outbox.run(ctx) })
	group.Go(func() error { return r.store.probe(ctx, r.log) })
	group.Go(func() error { return r.conn.ConsumeRejections(ctx, r.rejected) })
	group.Go(func() error { return r.conn.ConsumeAccounts(ctx, r.accountChanged) })
	if r.recheck != nil {
		group.Go(func() error { return r.recheck.run(ctx) })
	}
	return group.Wait()
}

func (r *Registry) serveHTTP(ctx context.Context) error {
	err := httpserve.Run(ctx, r.listener, httpserve.Config{
		Handler: r.api, MaxConns: maxConns, WriteTimeout: writeTimeout, StopTimeout: stopTimeout, Log: r.log,
	})
	if err != nil {
		return fmt.Errorf("serve clients: %w", err)
	}
	return nil
}

// Close closes the listener and the database. It is for after [Registry.Run],
// or instead of it.
func (r *Registry) Close() error {
	err := r.listener.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	return errors.Join(err, r.store.Close())
}
