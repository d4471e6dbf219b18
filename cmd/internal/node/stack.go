// Package node assembles a process of poked. In the figure arrows point from user to used.
// The process starts from right to left and stops from left to right, so that whatever
// still runs has what it needs.
//
//	signal ─▶ ctx
//	           │ ends
//	           ▼
//	        actors ──▶ their resources ──▶ connection ──▶ NATS
//	        ├ streams                          stream.Conn   ├ embedded (serve)
//	        ├ registry    database, listener                 └ external (--nats)
//	        ├ dispatcher
//	        ├ bridge      listener
//	        ├ nats watch  (serve: is the embedded server healthy)
//	        └ hangups     (SIGHUP: actors reread their files)
//	ops ──▶ actors: readiness, metrics
//
// A server fits its memory to its container: see fitMemory.
//
// The actors run in one errgroup: the first that fails ends the others, and each stops by
// itself, within a time limit, when the context ends.
package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"poked/dispatcher"
	"poked/events/bridge"
	"poked/events/homeserver"
	"poked/events/pushgateway"
	"poked/events/stream"
	"poked/events/wait"
	"poked/registry"
)

// stopBound is how long the actors may take to stop, which is longer than their own
// timeouts. An actor with a longer grace period gets stopMargin in addition.
const (
	stopBound  = 15 * time.Second
	stopMargin = 5 * time.Second
)

// Actor is a long-running part of a process.
type Actor struct {
	Name  string
	Run   func(context.Context) error // until ctx ends; nil after a clean stop
	Close func() error                // called after every actor has stopped; nil if there is nothing to close
	where []any                       // its addresses, as log attributes for the ready line
	grace time.Duration               // how long it may take to stop, if longer than stopBound

	unready func() string        // returns why it is not ready, or ""; nil if it always is
	metrics prometheus.Collector // nil if it has none
	reread  func() error         // rereads its files on SIGHUP; nil if it has none to reread
	worker  string               // the name of a dispatcher, "" for other actors
}

// Base is what every role uses.
type Base struct {
	policy *pushgateway.Policy
	Conn   *stream.Conn
	log    *slog.Logger
}

// Starter starts one actor, up to the point where only Run is left to call.
type Starter func(context.Context, Base) (Actor, error)

// StartRegistry returns a starter of the registry, which reaches push services of browsers as
// the flags say.
func StartRegistry(cfg registry.Config, flags RouteFlags) Starter {
	return func(ctx context.Context, b Base) (Actor, error) {
		route, err := flags.route()
		if err != nil {
			return Actor{}, err
		}
		var r *registry.Registry
		failed := func(err error) { b.log.Error("the registry is waiting for its database", "error", err) }
		err = wait.Until(ctx, setUpPause, failed, func() (err error) {
			if r, err = registry.Open(ctx, cfg, b.policy.Via(route), b.Conn, b.log); err != nil && !errors.Is(err, registry.ErrStoreAway) {
				err = backoff.Permanent(err)
			}
			return err
		})
		if err != nil {
			return Actor{}, fmt.Errorf("start registry: %w", err)
		}
		return Actor{
			Name: "registry", Run: r.Run, Close: r.Close, where: []any{"http", r.Addr()},
			unready: r.Unready, metrics: newRegistryMetrics(r.Health), reread: r.RereadTokens,
		}, nil
	}
}

// StartDispatcher returns a starter of a dispatcher, which reports to its operators if the
// flags have a URL for that.
func StartDispatcher(cfg dispatcher.Config, flags DispatcherFlags) Starter {
	return func(ctx context.Context, b Base) (Actor, error) {
		route, err := flags.Route.route()
		if err != nil {
			return Actor{}, err
		}
		d, err := dispatcher.New(cfg, b.policy.Via(route), b.Conn, b.log)
		if err != nil {
			return Actor{}, fmt.Errorf("start dispatcher: %w", err)
		}
		recorder, closeTraces, err := openTraces(ctx, d.Worker(), b.log)
		if err != nil {
			return Actor{}, fmt.Errorf("start dispatcher: %w", err)
		}
		d.RecordSpans(recorder)
		run := d.Run
		if flags.Notify.URL != "" {
			run = func(ctx context.Context) error {
				group, ctx := errgroup.WithContext(ctx)
				group.Go(func() error { return d.Run(ctx) })
				group.Go(func() error { return newNotices(flags.Notify, b.log).run(ctx, deploymentOf(d, b.Conn)) })
				return group.Wait()
			}
		}
		return Actor{
			Name: "dispatcher", Run: run, Close: closeTraces, grace: cfg.StopGrace + stopMargin,
			unready: d.Unready, metrics: newDispatcherMetrics(d.Health), worker: d.Worker(),
		}, nil
	}
}

// keepStreams returns a starter of the actor that monitors the streams.
func keepStreams(t stream.Topology) Starter {
	return func(_ context.Context, b Base) (Actor, error) {
		return Actor{
			Name: "streams", Run: func(ctx context.Context) error { return b.Conn.Keep(ctx, t) },
			unready: func() string { return natsTrouble(b.Conn) }, metrics: newNATSMetrics(b.Conn),
		}, nil
	}
}

// natsTrouble returns what is wrong with NATS, or "".
func natsTrouble(conn *stream.Conn) string {
	if !conn.Connected() {
		return "nats is away"
	}
	for _, s := range conn.Streams() {
		if s.Missing {
			return "stream " + s.Name + " was deleted"
		}
	}
	return ""
}

// Stack describes a process: its NATS and its actors.
type Stack struct {
	Log      *slog.Logger
	NATS     stream.Config
	Where    []any    // log attributes for the ready line, besides those of the actors
	Data     *DataDir // data directory, kept once the process is ready; nil for none
	Starters []Starter
	Adopts   bool          // another process sets up the streams
	embedded *EmbeddedNATS // nil with an external NATS
	// AtTerminal is set for a program that SIGHUP ends, with its terminal. Servers reread
	// their files instead.
	AtTerminal bool
}

// Outside returns a stack that uses the external NATS at these URLs.
func (s Stack) Outside(urls, name string, access NATSFlags) Stack {
	s.NATS = stream.Config{URL: urls, Name: name, Credentials: access.Credentials()}
	s.Where = append(s.Where, "nats", RedactNATS(urls))
	return s
}

// Run runs a process that sets up the streams.
func (f RoleFlags) Run(ctx context.Context, s Stack) error {
	o, err := OpenOps(ctx, f.Ops, s.Log)
	if err != nil {
		return err
	}
	defer o.Close()
	return f.runWith(ctx, s, o)
}

// runWith is Run with an open operator's port.
func (f RoleFlags) runWith(ctx context.Context, s Stack, o *Ops) error {
	policy, err := f.Gateway.Policy()
	if err != nil {
		return err
	}
	s.Where = append(s.Where, o.Where()...)
	s.Starters = append([]Starter{keepStreams(f.Topology.topology())}, s.Starters...)
	return s.Run(ctx, policy, o, func(ctx context.Context, conn *stream.Conn) error {
		return s.setUp(ctx, conn, f.Topology.topology(), func(err error) { o.waitsFor("the streams are not set up yet: " + err.Error()) })
	})
}

// Run connects to NATS, calls setup for the streams, starts every actor, logs that the
// process is ready, and runs until ctx ends or an actor fails. Then it stops everything.
func (s Stack) Run(ctx context.Context, policy *pushgateway.Policy, o *Ops, setup func(context.Context, *stream.Conn) error) (err error) {
	s.NATS.Log = s.Log
	var hangup *hangups
	if !s.AtTerminal {
		hangup = onHangup(s.Log, s.NATS)
		defer hangup.close()
		fitMemory(s.Log)
	}
	o.waitsFor("nats is not there yet")
	conn, err := stream.Connect(ctx, s.NATS)
	if err != nil {
		if ctx.Err() != nil {
			return nil // asked to stop while waiting for NATS
		}
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if err := setup(ctx, conn); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	actors, err := startAll(ctx, Base{policy: policy, Conn: conn, log: s.Log}, s.Starters)
	defer func() { err = errors.Join(err, closeAll(actors)) }()
	if err != nil {
		if ctx.Err() != nil {
			return nil // asked to stop during the start
		}
		return err
	}
	actors = append(actors, processActor(conn, o, actors, s.Log))
	if o.page != nil {
		actors = append(actors, o.pageActor(conn, s.NATS))
	}
	for _, a := range actors {
		if err := o.watch(a); err != nil {
			return err
		}
	}
	o.waitsFor("")
	if hangup != nil {
		actors = append(actors, hangup.actor(actors))
	}
	s.logReady(actors)
	if s.Data != nil {
		s.Data.Keep()
		s.Data.WarnIfShared(s.Log)
	}
	return runAll(ctx, s.Log, actors)
}

// startAll returns the actors it has started, even with an error.
func startAll(ctx context.Context, b Base, starters []Starter) ([]Actor, error) {
	var actors []Actor
	for _, start := range starters {
		a, err := start(ctx, b)
		if err != nil {
			return actors, err
		}
		actors = append(actors, a)
	}
	return actors, nil
}

func closeAll(actors []Actor) error {
	var errs []error
	for _, a := range actors {
		if a.Close == nil {
			continue
		}
		if err := a.Close(); err != nil {
			errs = append(errs, fmt.Errorf("close %s: %w", a.Name, err))
		}
	}
	return errors.Join(errs...)
}

// logReady logs the ready line, which operators and scripts wait for.
func (s Stack) logReady(actors []Actor) {
	attrs := append([]any{"version", ReadVersion().Version}, s.Where...)
	for _, a := range actors {
		attrs = append(attrs, a.where...)
	}
	s.Log.Info("poked is ready", attrs...)
	tellSupervisor(s.Log, daemon.SdNotifyReady)
}

// tellSupervisor tells systemd (Type=notify) the state of the process, if it was started by
// that: see sd_notify(3).
func tellSupervisor(log *slog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("the supervisor was not told", "state", state, "error", err)
	}
}

// runAll runs the actors until ctx ends or one of them fails. Then it waits until all have
// stopped, or the time limit has passed.
func runAll(ctx context.Context, log *slog.Logger, actors []Actor) error {
	group, ctx := errgroup.WithContext(ctx)
	bound := stopBound
	for _, a := range actors {
		bound = max(bound, a.grace)
		group.Go(func() error { return a.runUntil(ctx) })
	}
	stopped := make(chan error, 1)
	go func() { stopped <- group.Wait() }() // ends with the actors, or with the process

	<-ctx.Done()
	log.Info("poked is stopping")
	tellSupervisor(log, daemon.SdNotifyStopping)
	select {
	case err := <-stopped:
		return err
	case <-time.After(bound):
		err := fmt.Errorf("did not stop within %s; everything acknowledged is on disk", bound)
		if why := context.Cause(ctx); !errors.Is(why, context.Canceled) {
			err = errors.Join(why, err)
		}
		return err
	}
}

// runUntil runs an actor until ctx ends. To end before that is a failure.
func (a Actor) runUntil(ctx context.Context) error {
	err := a.Run(ctx)
	if err == nil && ctx.Err() == nil {
		err = errors.New("ended by itself")
	}
	if err != nil {
		return fmt.Errorf("run %s: %w", a.Name, err)
	}
	return nil
}

// StartBridge returns a starter of the bridge from a homeserver.
func StartBridge(cfg bridge.Config, hs homeserver.Config) Starter {
	return func(ctx context.Context, b Base) (Actor, error) {
		client, reg, err := OpenHomeserver(hs)
		if err != nil {
			return Actor{}, fmt.Errorf("start bridge: %w", err)
		}
		br, err := bridge.Open(ctx, cfg, client, reg, b.Conn, b.log)
		if err != nil {
			return Actor{}, fmt.Errorf("start bridge: %w", err)
		}
		stop := func() error {
			defer client.Close()
			return br.Close()
		}
		return Actor{
			Name: "bridge", Run: br.Run, Close: stop, where: []any{"bridge_http", br.Addr()},
			unready: br.Unready, metrics: newBridgeMetrics(br.Health),
		}, nil
	}
}

// OpenHomeserver returns a client of the homeserver, and the registration of poked there.
func OpenHomeserver(cfg homeserver.Config) (*homeserver.Client, *homeserver.Registration, error) {
	reg, err := homeserver.ReadRegistration(cfg.Registration)
	if err != nil {
		return nil, nil, err
	}
	client, err := homeserver.New(cfg.URL)
	return client, reg, err
}

// At returns one of the actor's addresses, by its log key.
func (a Actor) At(key string) string {
	for i := 0; i+1 < len(a.where); i += 2 {
		if a.where[i] == key {
			return fmt.Sprint(a.where[i+1])
		}
	}
	return ""
}
