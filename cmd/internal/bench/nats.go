package bench

import (
	"context"
	"fmt"
	"log/slog"

	"poked/cmd/internal/child"
	"poked/cmd/internal/node"
	"poked/cmd/internal/terminal"
)

// natsCmd is the NATS server of a benchmark that kills or measures dispatchers, in a
// separate process. It prints its URL on standard output, and ends with its standard input.
type natsCmd struct {
	Dir     string         `arg:"" help:"Directory of its files."`
	Fsync   node.FsyncFlag `name:"fsync" default:"1s" env:"POKED_FSYNC" help:"How often it syncs to disk: always, or an interval."`
	Profile string         `name:"profile" placeholder:"FILE" env:"POKED_BENCH_PROFILE" help:"Write a CPU profile of it."`
}

// Run serves until ctx or standard input ends.
func (c natsCmd) Run(ctx context.Context, std terminal.Streams) error {
	if c.Profile != "" {
		stop, err := profile(c.Profile)
		if err != nil {
			return err
		}
		defer stop()
	}
	log := slog.New(slog.NewTextHandler(std.Err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	nats, err := node.StartNATS(node.NATSOptions{Dir: c.Dir, Listen: child.Host + ":0", Sync: c.Fsync, Log: log})
	if err != nil {
		return err
	}
	defer nats.Stop()
	if _, err := fmt.Fprintf(std.Out, "nats://%s\n", nats.Where()); err != nil {
		return fmt.Errorf("print address of nats: %w", err)
	}
	ctx, stop := child.WithParent(ctx, std.In)
	defer stop()
	return nats.Watch(ctx)
}
