package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"poked/dispatcher"
	"poked/events"
	"poked/events/bridge"
	"poked/events/homeserver"
	"poked/events/pushgateway"
	"poked/registry"
)

// What a process is made of. The arrows point at what is used; it is built
// from the right to the left and taken down from the left to the right, so
// that whoever is still working has what it needs.
//
//	signal ─▶ ctx
//	           │ ends
//	           ▼
//	        actors ──▶ their resources ──▶ connection ──▶ NATS
//	        ├ streams                          events.Conn   ├ embedded (serve)
//	        ├ registry    database, listener                 └ outside  (--nats)
//	        ├ dispatcher
//	        ├ bridge      listener
//	        └ nats watch  (serve: the embedded server lives)
//	ops ──▶ actors: are they ready, what have they done
//
// The actors run in one errgroup: the first that fails ends the others, and
// each stops by itself, within a bound, when the context ends.

// stopBound is how long the actors may take to finish what is out: longer than
// they allow themselves. One that was given a longer grace has stopMargin beyond
// it.
const (
	stopBound  = 15 * time.Second
	stopMargin = 5 * time.Second
)

// actor is one long-lived thing of a process.
type actor struct {
	name  string
	run   func(context.Context) error // until ctx ends; nil after a clean stop
	close func() error                // after every actor has stopped; nil if there is nothing to close
	where []any                       // for the ready line: where it can be reached, as log attributes
	grace time.Duration               // how long it may take to stop, if that is more than usual

	unready func() string        // why it does not do all of its work, or ""; nil if it always does
	metrics prometheus.Collector // nil if there is nothing to tell
}

// base is what roles stand on.
type base struct {
	policy *pushgateway.Policy
	conn   *events.Conn
	log    *slog.Logger
}

// starter brings one actor up, to the point where it only has to run.
type starter func(context.Context, base) (actor, error)

func startRegistry(cfg registry.Config) starter {
	return func(ctx context.Context, b base) (actor, error) {
		r, err := registry.Open(ctx, cfg, b.policy, b.conn, b.log)
		if err != nil {
			return actor{}, fmt.Errorf("start registry: %w", err)
		}
		return actor{
			name: "registry", run: r.Run, close: r.Close, where: []any{"http", r.Addr()},
			unready: r.Unready, metrics: newRegistryMetrics(r.Health),
		}, nil
	}
}

func startDispatcher(cfg dispatcher.Config) starter {
	return func(_ context.Context, b base) (actor, error) {
		d, err := dispatcher.New(cfg, b.policy, b.conn, b.log)
		if err != nil {
			return actor{}, fmt.Errorf("start dispatcher: %w", err)
		}
		return actor{
			name: "dispatcher", run: d.Run, grace: cfg.StopGrace + stopMargin,
			unready: d.Unready, metrics: newDispatcherMetrics(d.Health),
		}, nil
	}
}

// keepStreams looks after what everything else stands on.
func keepStreams(t events.Topology) starter {
	return func(_ context.Context, b base) (actor, error) {
		return actor{
			name: "streams", run: func(ctx context.Context) error { return b.conn.Keep(ctx, t) },
			unready: func() string { return natsTrouble(b.conn) }, metrics: newNATSMetrics(b.conn),
		}, nil
	}
}

// natsTrouble says what is wrong with NATS, or "".
func natsTrouble(conn *events.Conn) string {
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

// stack is what one process is to be made of.
type stack struct {
	log      *slog.Logger
	nats     events.Config
	where    []any // for the ready line, beside what the actors say
	starters []starter
	adopts   bool // the streams are another's to make
}

// outside has the process use the NATS of the operator's at these URLs.
func (s stack) outside(urls, name string, access natsFlags) stack {
	s.nats = events.Config{URL: urls, Name: name, Credentials: access.credentials()}
	s.where = append(s.where, "nats", redactNATS(urls))
	return s
}

// run runs a process that makes the streams.
func (f roleFlags) run(ctx context.Context, s stack) error {
	policy, err := f.Gateway.policy()
	if err != nil {
		return err
	}
	o, err := openOps(ctx, f.Ops, s.log)
	if err != nil {
		return err
	}
	defer o.close()
	s.where = append(s.where, o.where()...)
	s.starters = append([]starter{keepStreams(f.Topology.topology())}, s.starters...)
	return s.run(ctx, policy, o, func(ctx context.Context, conn *events.Conn) error {
		return s.setUp(ctx, conn, f.Topology.topology(), func(err error) { o.waitsFor("the streams are not there yet: " + err.Error()) })
	})
}

// run connects to NATS, has setup see to the streams, starts every actor, says in
// the log that all is ready, and runs until ctx ends or something fails. Then it
// takes everything down again.
func (s stack) run(ctx context.Context, policy *pushgateway.Policy, o *ops, setup func(context.Context, *events.Conn) error) (err error) {
	s.nats.Log = s.log
	o.waitsFor("nats is not there yet")
	conn, err := events.Connect(ctx, s.nats)
	if err != nil {
		if ctx.Err() != nil {
			return nil // asked to stop while NATS was not there yet
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
	actors, err := startAll(ctx, base{policy: policy, conn: conn, log: s.log}, s.starters)
	defer func() { err = errors.Join(err, closeAll(actors)) }()
	if err != nil {
		return err
	}
	for _, a := range actors {
		if err := o.watch(a); err != nil {
			return err
		}
	}
	o.waitsFor("")
	s.logReady(actors)
	return runAll(ctx, s.log, actors)
}

// startAll returns the actors it started, also with an error.
func startAll(ctx context.Context, b base, starters []starter) ([]actor, error) {
	var actors []actor
	for _, start := range starters {
		a, err := start(ctx, b)
		if err != nil {
			return actors, err
		}
		actors = append(actors, a)
	}
	return actors, nil
}

func closeAll(actors []actor) error {
	var errs []error
	for _, a := range actors {
		if a.close == nil {
			continue
		}
		if err := a.close(); err != nil {
			errs = append(errs, fmt.Errorf("close %s: %w", a.name, err))
		}
	}
	return errors.Join(errs...)
}

// logReady writes the line that operators and scripts wait for.
func (s stack) logReady(actors []actor) {
	attrs := append([]any{"version", readVersion().Version}, s.where...)
	for _, a := range actors {
		attrs = append(attrs, a.where...)
	}
	s.log.Info("poked is ready", attrs...)
}

// runAll runs the actors until ctx ends or one of them fails, and waits until
// all have stopped, but no longer than they may take.
func runAll(ctx context.Context, log *slog.Logger, actors []actor) error {
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
	select {
	case err := <-stopped:
		return err
	case <-time.After(bound):
		return fmt.Errorf("did not stop within %s; what was promised is on disk", bound)
	}
}

// runUntil runs an actor until ctx ends. One that ends before has failed.
func (a actor) runUntil(ctx context.Context) error {
	err := a.run(ctx)
	if err == nil && ctx.Err() == nil {
		err = errors.New("ended by itself")
	}
	if err != nil {
		return fmt.Errorf("run %s: %w", a.name, err)
	}
	return nil
}

func startBridge(cfg bridge.Config, hs homeserver.Config) starter {
	return func(ctx context.Context, b base) (actor, error) {
		client, reg, err := openHomeserver(hs)
		if err != nil {
			return actor{}, fmt.Errorf("start bridge: %w", err)
		}
		br, err := bridge.Open(ctx, cfg, client, reg, b.conn, b.log)
		if err != nil {
			return actor{}, fmt.Errorf("start bridge: %w", err)
		}
		stop := func() error {
			defer client.Close()
			return br.Close()
		}
		return actor{name: "bridge", run: br.Run, close: stop, where: []any{"bridge_http", br.Addr()}}, nil
	}
}

func openHomeserver(cfg homeserver.Config) (*homeserver.Client, *homeserver.Registration, error) {
	reg, err := homeserver.ReadRegistration(cfg.Registration)
	if err != nil {
		return nil, nil, err
	}
	client, err := homeserver.New(cfg.URL)
	return client, reg, err
}

// at returns one of the places where an actor can be reached.
func (a actor) at(key string) string {
	for i := 0; i+1 < len(a.where); i += 2 {
		if a.where[i] == key {
			return fmt.Sprint(a.where[i+1])
		}
	}
	return ""
}
