// Package registry serves the pusher, push rule and notification endpoints of the Matrix
// client-server API. It stores pushers and push rules in a database, a SQLite file that
// nothing else opens or a PostgreSQL database that several registries share, and publishes
// them to NATS through an outbox. For unread notifications it asks a dispatcher at each
// request.
//
//	client ──pushers, pushrules──▶ api ─┐                 ┌─▶ outbox ──Put…──▶ PUSHERS, PUSH_RULES ──▶ dispatchers
//	                                    ├─▶ store (SQL) ──┘      ▲
//	NATS REJECTED, ACCOUNTS ────────────┘   one transaction:     └─ compare ◀──All… (both buckets)
//	                                        change, version, outbox
//	client ──notifications──▶ api ──ListNotifications──▶ a dispatcher; NATS ROOMS
//	       ──test push──────▶ api ──TestPusher─────────▶ a dispatcher ──▶ push gateway
//
// A request is routed by its escaped path (route.go), since a rule id may contain an
// escaped slash. It passes authentication, the user's rate limit, validation, and one
// transaction. Every failure becomes a [problem.Error], and one function writes all answers.
//
// # Where things are
//
// This package has the HTTP API, what is asked of the homeserver, and what puts the parts
// together. None of the parts imports it:
//
//	auth      whose an access token is: a file, or the homeserver
//	request   what clients may send, and its limits
//	store     every statement on a table; database below it knows SQLite and PostgreSQL
//	outbox    publishes what is stored to NATS, and compares both
//	browsers  the key of Web Push, and browsers that have yet to acknowledge
//	problem   the ways in which a request fails, with errcodes and statuses
//
// # Push rules
//
// A device's rules are evaluated before the global ones, for that device's pushers only, and
// include no predefined rules.
//
// If the homeserver publishes a user's m.push_rules, it owns the global rules: clients
// see its ruleset, with the predefined rules that it lacks (pushrule.Ruleset.Completed),
// and cannot change it here (403) until it withdraws it.
//
// What a homeserver publishes of its users' rules, or is asked for, is checked in one place
// (accountdata.go).
//
// The operator may offer the predefined rules of proposals as well (Config.OfferRules): users
// see and change them as those of the specification. What is offered is no user's, so it is
// written to NATS as it stands in the configuration, at each start and whenever the buckets are
// compared with the database; of registries that differ the last one wins. A change of a rule
// that is not offered any more stays stored.
//
// Where the specification is silent or servers differ: deleting a predefined rule is
// M_INVALID_PARAM 400, since the rule exists (no 404) but cannot be deleted; unknown
// actions are refused and unknown conditions stored; a rule that is set again without
// before or after keeps its place.
//
// # Notifications
//
// The dispatcher that owns the user's partition is asked for each request
// (notifications.go): it counts the badge, so the list and the badge agree. During a
// take-over the answer waits for a few seconds; without any dispatcher it is 503. The
// event is the original for as long as ROOMS keeps it, and after that the part
// that was in the poke. A page token is a sequence in the log, so new notifications do
// not shift later pages.
//
// # Web Push
//
// With Config.WebPushSubject, clients may set browsers as pushers (MSC4174; package browsers). A
// browser is stored inactive until its client has sent back a token that the registry pushes to
// it, at the address and with the secret that are set. GET pushers shows which is active.
//
// # With a homeserver
//
// With Config.Homeserver, the homeserver authenticates tokens (package auth) and
// keeps the global push rules: requests for them are forwarded, and changed rules are
// fetched and published like any other change (passed.go, upstream.go). When a pusher is set,
// the user's rules are fetched with the user's own token. Pushers that poked does not deliver
// are the homeserver's, and HTTP pushers that it has are moved here (theirpushers.go).
// Requests that end devices are watched if a proxy sends them here (watch.go); in any case the
// homeserver is asked about every user and device in turn (recheck.go): quickly after a start
// or a hang (missed.go), since clients went to the homeserver meanwhile. Receipts and
// redactions of a homeserver that does not send them are published if a proxy sends them here
// (reports.go). Imported users are published once their rules are fetched. A logout wins over
// earlier requests: no answer or request from before it restores a token or a pusher. If the
// homeserver is down, clients get 502; no pusher is removed and nobody is logged out.
//
// # Several registries
//
// Any number of registries may share a PostgreSQL database, and each answers everything.
// With SQLite there is one, and nothing of the following costs it anything.
//
//   - Changes of one user come one after the other, wherever they are made (package store).
//   - Each registry publishes its own changes, and after a second or two those of others that
//     are still there (package outbox).
//   - One at a time compares the buckets with the database, and one rechecks devices
//     ([database.DB.Lead]). What is asked of the homeserver for a user is asked and stored in
//     the user's turn, which only one registry has ([database.DB.Hold]).
//   - Rejections and account changes are shared out by NATS.
//   - What one learns and makes the memory of others outdated, such as a logout, is noted in the
//     database ([store.Notices]). The others read that four times a second, and use no cached
//     token while they cannot.
//   - Rate limits count in each registry: with N of them a user has at most N times the rate
//     and the burst. The same is true of requests with unknown tokens.
//
// # Guarantees
//
// G10: the store is asked about the user that the authenticator returned; no part of a
// request can name another.
//
// G11: 200 is sent after the commit of a transaction that contains the change and a row of the
// outbox. Unless NATS is away, the answer waits until the change is published, followed by an
// [events.Barrier] in ROOMS, three seconds at most: an event which the homeserver sends after
// the answer is matched with the change.
//
// G9: logs and the history of removed pushers contain a digest of a pusher
// ([events.PusherID]). Each request is logged as one line with the template of its path,
// without rule ids and instance handles.
//
// Limits keep both values of a user within one NATS message each; see maxMaxPushers and
// [store.MaxRulesBytes].
//
// # What fails, and how
//
//   - NATS is away: clients are served as usual and the outbox grows. Only notifications
//     cannot be listed and pushers not tested: M_UNKNOWN 503 with Retry-After.
//   - No dispatcher answers a test push: it is asked again for a few seconds unless one may have
//     sent it, then 503. One that takes longer answers after 6 s that the gateway is slow.
//   - The homeserver does not know the as_token: a warning, and not ready; it is asked
//     again every few seconds.
//   - A receipt, mark or redaction that the homeserver has accepted cannot be published: the client
//     gets the homeserver's answer, and publishing is retried. Up to 4096 wait in memory; a
//     crash loses them, and the next receipt in the room mends the count.
//   - A subscription to a thread passes by poked, or one is lost in a crash: it is found as push rules are,
//     if the homeserver lists them (MSC4308). Until then its user counts as not subscribed.
//   - A change of do not disturb passes by poked: it is found as push rules are. It cannot be read:
//     a dead letter, or if the homeserver was asked for it a warning, and the previous one stays.
//   - --do-not-disturb is taken away: what was stored of it is forgotten at the start, so no phone
//     stays silent.
//   - poked crashes while it moves a pusher from the homeserver: the pusher is in both, and
//     pokes may come twice until the next attempt.
//   - A bucket was lost, lags or is ahead: it is made to follow the database, which always wins.
//   - The database was lost: [Open] refuses an empty one while the buckets hold values,
//     since it would delete them. [Restore] rebuilds the database from the buckets.
//   - A message from NATS cannot be parsed: it becomes a dead letter.
//   - The disk is full, or another program holds the database locked: M_UNKNOWN 503 with
//     Retry-After, nothing changed, and the registry is not ready until it can be written.
//   - The database is corrupt: M_UNKNOWN 500, nothing changed.
//   - A second registry on the same file, or a database that is newer than the program, or
//     that cannot be used: [Open] fails with that error.
//   - The PostgreSQL server is away, starting, or a standby: M_UNKNOWN 503 with Retry-After,
//     and not ready. poked connects to the first host of the URL that accepts writes. A standby
//     that takes over without the last commits has lost them, unless replication is
//     synchronous: the buckets are compared with it, and follow it.
//   - A registry is killed: others publish what it left within two seconds, and get the
//     messages from NATS that it took after ten. One that is paused holds up at most the users
//     of its open transactions, for four seconds, and those whose turn it has, for thirty.
//   - A text with the character U+0000, which PostgreSQL cannot store: M_INVALID_PARAM 400.
//
// Messages from NATS are acknowledged after the commit of what they request, and applying
// one twice has no further effect.
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
	"poked/events/wait"
	"poked/registry/auth"
	"poked/registry/browsers"
	"poked/registry/database"
	"poked/registry/outbox"
	"poked/registry/store"
)

// Limits of the HTTP server, beside those of package httpserve. An answer may wait for
// the disk, for NATS up to listingTimeout, or for a few requests to the homeserver
// (homeserver.Client limits each).
const (
	maxConns     = 4096
	writeTimeout = time.Minute
	stopTimeout  = 10 * time.Second
)

// Registry is a running registry; [Open] makes one.
type Registry struct {
	db       *database.DB
	store    *store.Store
	api      *api
	outbox   *outbox.Outbox
	notices  *store.Notices
	browsers *browsers.Browsers // nil if web push is off
	recheck  *recheck           // nil without a registration
	tokens   *auth.TokenFile    // nil with a homeserver
	conn     *stream.Conn
	listener net.Listener
	log      *slog.Logger
}

// Open reads the token file or the registration, opens the database, migrates it to the
// newest schema and binds the listener. Connections wait until [Registry.Run] serves
// them. The topology must have been set up on conn. Errors tell an operator what to do.
func Open(ctx context.Context, cfg Config, policy *pushgateway.Policy, conn *stream.Conn, log *slog.Logger) (*Registry, error) {
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, err
	}
	source, err := openAuthSource(cfg, log)
	if err != nil {
		return nil, err
	}
	limiter, err := newLimiter(cfg.Rate, cfg.Burst)
	if err != nil {
		return nil, err
	}
	tests, err := newLimiter(testRate, testBurst)
	if err != nil {
		return nil, err
	}
	db, s, err := openDatabase(ctx, cfg)
	if err != nil {
		return nil, err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.HTTP)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen for http: %w", err), db.Close())
	}
	if !cfg.StartEmpty {
		if err := outbox.CheckNotLost(ctx, cfg.Database, s, conn); err != nil {
			return nil, errors.Join(err, listener.Close(), db.Close())
		}
	}
	r := &Registry{db: db, store: s, outbox: outbox.New(db, s, conn, log), tokens: source.file, conn: conn, listener: listener, log: log}
	r.notices = store.NewNotices(s, r.heed, r.forgetAll, log)
	up, err := source.upstream(cfg, db, s, r.notices, policy, log)
	if err != nil {
		return nil, errors.Join(err, listener.Close(), db.Close())
	}
	if up != nil {
		up.threads = newThreads(s.Options().Offers, conn)
	}
	if r.browsers, err = browsers.Open(ctx, cfg.WebPushSubject, s, conn, policy, log); err != nil {
		return nil, errors.Join(err, listener.Close(), db.Close())
	}
	r.api = newAPI(s, r.outbox, conn, policy, source.auth, up, r.browsers, limiter, tests, log)
	if source.registration != nil {
		r.recheck = newRecheck(up, source.client.Service(source.registration.ASToken), source.registration, r.notices, cfg.Recheck)
		return r, nil
	}
	if up != nil {
		up.newcomers.open.Store(true)
	}
	if err := s.ReleaseAll(ctx); err != nil { // nobody fetches their rules
		return nil, errors.Join(err, listener.Close(), db.Close())
	}
	return r, nil
}

// openDatabase opens the database as the configuration wants it.
func openDatabase(ctx context.Context, cfg Config) (*database.DB, *store.Store, error) {
	db, err := database.Open(ctx, cfg.Database, cfg.options())
	if err != nil {
		return nil, nil, err //nolint:wrapcheck // it names the database
	}
	offers, _ := cfg.offers() // checked before
	s := store.New(db, store.Options{MaxPushers: cfg.MaxPushers, Offers: offers, DoNotDisturb: cfg.DoNotDisturb})
	if !cfg.DoNotDisturb {
		if err := s.ForgetDoNotDisturb(ctx); err != nil {
			return nil, nil, errors.Join(err, db.Close())
		}
	}
	return db, s, nil
}

// authSource authenticates requests, by a token file or through a homeserver.
type authSource struct {
	auth         auth.Authenticator       // set by upstream if there is a homeserver
	file         *auth.TokenFile          // nil with a homeserver
	client       *homeserver.Client       // nil without a homeserver, as are the fields below
	registration *homeserver.Registration // nil if there is none
}

func openAuthSource(cfg Config, log *slog.Logger) (source authSource, err error) {
	if cfg.Homeserver.URL == "" {
		if source.file, err = auth.OpenTokenFile(cfg.Tokens, log); err != nil {
			return source, err
		}
		source.auth = source.file.Lookup
		return source, nil
	}
	if cfg.Homeserver.Registration != "" {
		if source.registration, err = homeserver.ReadRegistration(cfg.Homeserver.Registration); err != nil {
			return source, err
		}
	}
	if source.client, err = homeserver.New(cfg.Homeserver.URL); err != nil {
		return source, err
	}
	return source, nil
}

// upstream returns the homeserver that keeps push rules and devices, and that authenticates
// clients, or nil.
func (w *authSource) upstream(cfg Config, db *database.DB, s *store.Store, notices *store.Notices, policy *pushgateway.Policy, log *slog.Logger) (*upstream, error) {
	if w.client == nil {
		return nil, nil
	}
	tokens, err := auth.NewHomeserverTokens(w.client, cfg.TokenCache, notices)
	if err != nil {
		return nil, err
	}
	w.auth = tokens.Lookup
	return newUpstream(w.client, tokens, db, s, policy, log)
}

// Handler returns the HTTP API.
func (r *Registry) Handler() http.Handler { return r.api }

// Addr returns the HTTP listener's address, with the actual port.
func (r *Registry) Addr() string { return r.listener.Addr().String() }

// RereadTokens reads the token file now, even if it has not changed. After an error the
// previous tokens stay valid. With a homeserver it does nothing.
func (r *Registry) RereadTokens() error {
	if r.tokens == nil {
		return nil
	}
	return r.tokens.Reread()
}

// Run serves HTTP, publishes changes to NATS and processes messages from NATS until ctx
// ends. It then lets requests finish for up to 10 s and returns nil. The next start
// publishes what is left in the outbox.
func (r *Registry) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return r.serveHTTP(ctx) })
	group.Go(func() error { return r.outbox.Run(ctx) })
	group.Go(func() error { return r.store.Probe(ctx, r.log) })
	group.Go(func() error { return r.notices.Run(ctx) })
	group.Go(func() error { r.serveOperators(ctx); return nil })
	group.Go(func() error { return r.conn.ConsumeRejections(ctx, r.rejected) })
	group.Go(func() error { return r.conn.ConsumeAccounts(ctx, r.accountChanged) })
	if r.browsers != nil {
		group.Go(func() error { return r.browsers.Run(ctx) })
	}
	if r.api.upstream != nil {
		group.Go(func() error { return r.api.upstream.greet(ctx) })
		group.Go(func() error { return r.api.reports.run(ctx) })
	}
	if r.recheck != nil {
		group.Go(func() error { return r.recheck.run(ctx) })
		group.Go(func() error { return r.recheck.watchMissed(ctx) })
	}
	return group.Wait()
}

// heed heeds what another registry has learnt.
func (r *Registry) heed(n store.Notice) {
	up := r.api.upstream
	switch {
	case up == nil:
	case n.Kind == store.NoticeLogout:
		up.tokens.Forget(n.UserID, n.DeviceID)
	case n.Kind == store.NoticeMissed:
		up.newcomers.seen.Purge()
		if r.recheck != nil {
			wait.Wake(r.recheck.missed)
		}
	case n.Kind == store.NoticeRefetch && r.recheck != nil:
		r.recheck.soon.add(n.UserID, time.Now())
	}
}

// forgetAll drops what is remembered, and compares the buckets with the database: it may
// lack changes that it had before.
func (r *Registry) forgetAll() {
	r.log.Warn("the database server was restarted or replaced, the buckets are compared with it")
	if up := r.api.upstream; up != nil {
		up.tokens.ForgetAll()
		up.newcomers.seen.Purge()
	}
	r.outbox.Compare()
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

// Close closes the listener and the database. Call it after [Registry.Run], or instead
// of it.
func (r *Registry) Close() error {
	err := r.listener.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	return errors.Join(err, r.db.Close())
}
