// Package demo is "poked demo": it plays the recorded events of testdata through the whole
// program and compares every poke with the list of expected pokes.
package demo

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

	"poked/cmd/internal/node"
	"poked/cmd/internal/terminal"
	"poked/dispatcher"
	"poked/events/stream"
	"poked/registry"
)

// Cmd is "poked demo".
type Cmd struct {
	Rate float64 `default:"150" env:"POKED_DEMO_RATE" placeholder:"N" help:"Events to publish per second; 0 means as fast as NATS stores them."`
	All  bool    `name:"all" xor:"output" env:"POKED_DEMO_ALL" help:"Show every poke, not only the first of each kind."`
	JSON bool    `name:"json" xor:"output" env:"POKED_DEMO_JSON" help:"Print the body of each poke as a line of JSON. Everything else goes to standard error."`
}

// Help is shown by kong under the command's summary.
func (Cmd) Help() string {
	return "Everything runs in this process, in a temporary directory. Each poke is compared with the list of expected pokes; " +
		"one may be missing only if its event is read first. The exit code is 1 if a poke is missing, unexpected or wrong, " +
		"or if the last badge of a pusher is not the unread count of its user."
}

// Validate is called by kong.
func (c *Cmd) Validate() error {
	if c.Rate < 0 || math.IsNaN(c.Rate) {
		return errors.New("--rate must not be negative")
	}
	return nil
}

// patience is how long no poke may arrive before the missing pokes count as lost.
const patience = 20 * time.Second

// Run plays the demo and fails unless every poke is as expected.
func (c *Cmd) Run(ctx context.Context, std terminal.Streams) error {
	return c.play(ctx, std, testdataFiles(), patience)
}

// play plays recorded files.
//
//	player ──pushers/set──▶ registry ──▶ NATS ──▶ dispatcher ──pokes──▶ gateway ──▶ player
//	  └─────────room events, receipts─────▲                                  checked, shown
//
// The actors are those of poked serve, and the gateway and the player. When the player has
// ended, everything stops.
func (c *Cmd) play(ctx context.Context, std terminal.Streams, files recordedFiles, patience time.Duration) error {
	rec, err := readRecording(files)
	if err != nil {
		return err
	}
	return newPlayer(rec, c.screen(std, len(rec.expected)), c.limiter(), patience).run(ctx, std)
}

// run plays the recording in a temporary directory.
func (s *player) run(ctx context.Context, std terminal.Streams) (err error) {
	dir, err := os.MkdirTemp("", "poked-demo-")
	if err != nil {
		return fmt.Errorf("make demo directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	log := node.LogFlags{Level: slog.LevelWarn}.Logger(std.Err)
	nats, err := node.StartNATS(node.NATSOptions{Dir: filepath.Join(dir, "nats"), Sync: node.FsyncFlag{Interval: time.Second}, Log: log})
	if err != nil {
		return err
	}
	defer nats.Stop()

	ctx, end := context.WithCancel(ctx)
	defer end()
	starters, err := s.starters(dir, log, end)
	if err != nil {
		return err
	}
	roles := node.RoleFlags{
		Topology: node.TopologyFlags{Partitions: stream.DefaultPartitions, Replicas: 1},
		Gateway:  node.GatewayFlags{Allow: []string{host}, AllowHTTP: true},
	}
	process := node.Stack{AtTerminal: true, Log: log, NATS: stream.Config{Name: "poked demo", InProcess: nats}, Starters: starters}
	if err := roles.Run(ctx, process); err != nil {
		return err
	}
	return s.verdict()
}

func (c *Cmd) limiter() *rate.Limiter {
	if c.Rate == 0 {
		return rate.NewLimiter(rate.Inf, 0)
	}
	// Bursts of 10 ms, because timers are not exact.
	return rate.NewLimiter(rate.Limit(c.Rate), max(1, int(c.Rate/100)))
}

// starters returns the starters of all actors. end is called when the player has ended.
func (s *player) starters(dir string, log *slog.Logger, end func()) ([]node.Starter, error) {
	var delivery dispatcher.Config
	if err := kong.ApplyDefaults(&delivery); err != nil {
		return nil, fmt.Errorf("configure dispatcher: %w", err)
	}
	delivery.CatchUpLimit = math.MaxInt32 // every poke is expected, even if the events are published faster than in reality
	tokens := filepath.Join(dir, "tokens")
	if err := s.writeTokens(tokens); err != nil {
		return nil, err
	}
	return []node.Starter{
		func(ctx context.Context, _ node.Base) (node.Actor, error) {
			var err error
			if s.gateway, err = listenGateway(ctx, log); err != nil {
				return node.Actor{}, err
			}
			return node.Actor{Name: "gateway", Run: s.gateway.run, Close: s.gateway.Close}, nil
		},
		s.registry(registry.Config{HTTP: host + ":0", Database: filepath.Join(dir, "poked.db"), Tokens: tokens}),
		s.dispatcher(delivery),
		func(_ context.Context, b node.Base) (node.Actor, error) {
			return node.Actor{Name: "demo", Run: func(ctx context.Context) error {
				defer end()
				return s.play(ctx, b.Conn)
			}}, nil
		},
	}, nil
}

// registry starts the registry and stores its address.
func (s *player) registry(cfg registry.Config) node.Starter {
	return func(ctx context.Context, b node.Base) (node.Actor, error) {
		a, err := node.StartRegistry(cfg, node.RouteFlags{})(ctx, b)
		s.registryAddr = a.At("http")
		return a, err
	}
}

// dispatcher starts the dispatcher, but runs it only when the pushers are in NATS. So it
// knows all of them before the first event, and no poke is missing because its pusher was
// unknown.
func (s *player) dispatcher(cfg dispatcher.Config) node.Starter {
	return func(ctx context.Context, b node.Base) (node.Actor, error) {
		a, err := node.StartDispatcher(cfg, node.DispatcherFlags{})(ctx, b)
		run := a.Run
		a.Run = func(ctx context.Context) error {
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
