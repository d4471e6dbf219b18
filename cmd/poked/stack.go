package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"poked/dispatcher"
	"poked/events"
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
//	        ├ registry    database, listener   events.Conn   ├ embedded (serve)
//	        ├ dispatcher                                     └ outside  (--nats)
//	        ├ bridge      listener
//	        └ nats watch  (serve: the embedded server lives)
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
		return actor{name: "registry", run: r.Run, close: r.Close, where: []any{"http", r.Addr()}}, nil
	}
}

func startDispatcher(cfg dispatcher.Config) starter {
	return func(_ context.Context, b base) (actor, error) {
		d, err := dispatcher.New(cfg, b.policy, b.conn, b.log)
		if err != nil {
			return actor{}, fmt.Errorf("start dispatcher: %w", err)
		}
		return actor{name: "dispatcher", run: d.Run, grace: cfg.StopGrace + stopMargin}, nil
	}
}

// stack is what one process is to be made of.
type stack struct {
	log      *slog.Logger
	nats     events.Config
	where    []any // for the ready line, beside what the actors say
	starters []starter
}

// outside has the process use the NATS of the operator's at these URLs.
func (s stack) outside(urls, name string) stack {
	s.nats = events.Config{URL: urls, Name: name}
	s.where = append(s.where, "nats", redactNATS(urls))
	return s
}

// run runs a process that makes the streams.
func (f roleFlags) run(ctx context.Context, s stack) error {
	policy, err := f.Gateway.policy()
	if err != nil {
		return err
	}
	return s.run(ctx, policy, func(ctx context.Context, conn *events.Conn) error {
		return conn.Setup(ctx, f.Topology.topology())
	})
}

// run connects to NATS, has setup see to the streams, starts every actor, says in
// the log that all is ready, and runs until ctx ends or something fails. Then it
// takes everything down again.
func (s stack) run(ctx context.Context, policy *pushgateway.Policy, setup func(context.Context, *events.Conn) error) (err error) {
	s.nats.Log = s.log
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
