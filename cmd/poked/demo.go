package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/alecthomas/kong"
	"golang.org/x/time/rate"

	"poked/dispatcher"
	"poked/events"
	"poked/registry"
)

// demoCmd is "poked demo": the whole program on recorded events, judged by the
// list of pokes that these must cause.
type demoCmd struct {
	Rate  float64 `default:"150" env:"POKED_DEMO_RATE" placeholder:"N" help:"Publish so many events a second; 0 is as fast as NATS stores them."`
	Quiet bool    `xor:"output" env:"POKED_DEMO_QUIET" help:"Show no pokes, only what came of it all."`
	JSON  bool    `name:"json" xor:"output" env:"POKED_DEMO_JSON" help:"Print the body of each poke as a line of JSON; everything else goes to standard error."`
}

// Help is shown by kong under the command's summary.
func (demoCmd) Help() string {
	return "Everything runs in this process, in a directory that is removed at the end. Each poke is compared with " +
		"the list of those that must arrive, or may if their event is read meanwhile; the exit code is 1 if one is missing, " +
		"unexpected or not as it should be, or if a pusher's last badge is not what its user has unread."
}

// Validate is called by kong.
func (c *demoCmd) Validate() error {
	if c.Rate < 0 || math.IsNaN(c.Rate) {
		return errors.New("--rate must not be negative")
	}
	return nil
}

// demoPatience is how long nothing may arrive before the pokes that are missing
// count as lost.
const demoPatience = 20 * time.Second

// Run shows everything and fails unless each poke is as it should be.
func (c *demoCmd) Run(ctx context.Context, std streams) error {
	return c.perform(ctx, std, testdataFiles(), demoPatience)
}

// perform runs the demo on recorded files.
//
//	story ──pushers/set──▶ registry ──▶ NATS ──▶ dispatcher ──pokes──▶ gateway ──▶ story
//	  └─────────room events, receipts────▲                                  checked, shown
//
// The actors are those of poked serve, with the gateway and the story beside
// them. When the story has ended, everything stops.
func (c *demoCmd) perform(ctx context.Context, std streams, files recordedFiles, patience time.Duration) error {
	rec, err := readRecording(files)
	if err != nil {
		return err
	}
	return newStory(rec, c.screen(std, len(rec.owed)), c.limiter(), patience).perform(ctx, std)
}

// perform performs a story in a directory that is removed at the end.
func (s *story) perform(ctx context.Context, std streams) (err error) {
	dir, err := os.MkdirTemp("", "poked-demo-")
	if err != nil {
		return fmt.Errorf("make demo directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	log := logFlags{Level: slog.LevelWarn}.logger(std.err)
	nats, err := startNATS(natsOptions{dir: filepath.Join(dir, "nats"), sync: fsyncFlag{interval: time.Second}, log: log})
	if err != nil {
		return err
	}
	defer nats.stop()

	ctx, end := context.WithCancel(ctx)
	defer end()
	starters, err := s.cast(dir, end)
	if err != nil {
		return err
	}
	roles := roleFlags{
		Topology: topologyFlags{Partitions: events.DefaultPartitions, Replicas: 1},
		Gateway:  gatewayFlags{Allow: []string{demoHost}, AllowHTTP: true},
	}
	process := stack{log: log, nats: events.Config{Name: "poked demo", InProcess: nats}, starters: starters}
	if err := roles.run(ctx, process); err != nil {
		return err
	}
	return s.verdict()
}

func (c *demoCmd) limiter() *rate.Limiter {
	if c.Rate == 0 {
		return rate.NewLimiter(rate.Inf, 0)
	}
	// Ten milliseconds' worth at once: timers are not exact.
	return rate.NewLimiter(rate.Limit(c.Rate), max(1, int(c.Rate/100)))
}

// cast returns what brings up everyone who takes part. end is called when the
// story has ended.
func (s *story) cast(dir string, end func()) ([]starter, error) {
	var delivery dispatcher.Config
	if err := kong.ApplyDefaults(&delivery); err != nil {
		return nil, fmt.Errorf("configure dispatcher: %w", err)
	}
	delivery.CatchUpLimit = math.MaxInt32 // every poke is to be seen, though a minute of talk is told in seconds
	tokens := filepath.Join(dir, "tokens")
	if err := s.writeTokens(tokens); err != nil {
		return nil, err
	}
	return []starter{
		func(ctx context.Context, _ base) (a actor, err error) {
			s.gateway, err = listenGateway(ctx)
			return actor{name: "gateway", run: s.gateway.run, close: s.gateway.close}, err
		},
		s.registry(registry.Config{HTTP: demoHost + ":0", Database: filepath.Join(dir, "poked.db"), Tokens: tokens}),
		s.dispatcher(delivery),
		func(_ context.Context, b base) (actor, error) {
			return actor{name: "demo", run: func(ctx context.Context) error {
				defer end()
				return s.tell(ctx, b.conn)
			}}, nil
		},
	}, nil
}

// registry starts the registry and notes where it listens.
func (s *story) registry(cfg registry.Config) starter {
	return func(ctx context.Context, b base) (actor, error) {
		a, err := startRegistry(cfg)(ctx, b)
		s.registryAddr = a.at("http")
		return a, err
	}
}

// dispatcher starts the dispatcher and lets it run once the pushers are in
// NATS: it reads all of them before the first event, so that no poke is missing
// only because its pusher was not known yet.
func (s *story) dispatcher(cfg dispatcher.Config) starter {
	return func(ctx context.Context, b base) (actor, error) {
		a, err := startDispatcher(cfg)(ctx, b)
		run := a.run
		a.run = func(ctx context.Context) error {
			select {
			case <-s.registered:
				return run(ctx)
			case <-ctx.Done():
				return nil
			}
		}
		return a, err
	}
}
