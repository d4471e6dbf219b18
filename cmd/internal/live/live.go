// Package live is "pokelab live": poked beside a live homeserver. It starts Dendrite, nginx
// with the example configuration, poked and two push gateways, lets six users have a day, and
// compares every poke with a table of what the specification demands
// (testdata/live/day.json). Dendrite's own push goes to a gateway of its own, as a second
// opinion that decides nothing. Then client libraries start, and processes are killed.
//
//	six users, matrix-js-sdk, mautrix-go
//	   │
//	   ▼
//	 nginx ──pushers, rules, receipts, redactions──▶ poked ──pokes──▶ gateway
//	   │                                              │ ▲
//	   └──all else, and all while poked is down──▶ Dendrite ──pokes──▶ gateway
//
// # What fails, and how
//
//   - Dendrite cannot be built, or nginx is not installed: one line says so, and nothing is
//     tested. The exit code is 0 unless --must is set.
//   - A client library cannot be installed: one line, the rest is tested.
//   - Anything that a poke should be and is not: the line in the table says what was expected
//     and what came, the logs are kept, exit code 1.
package live

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"poked/cmd/internal/terminal"
)

// Commands is the subcommand.
type Commands struct {
	Live Cmd `cmd:"" help:"Run a day of six users at a live homeserver, and check every poke."`
}

// Cmd is "pokelab live".
type Cmd struct {
	Root string `name:"root" type:"existingdir" default:"." env:"POKED_LIVE_ROOT" help:"Root of poked's repository: the proxy's configuration and the client libraries come from there."`
	Must bool   `name:"must" env:"POKED_LIVE_MUST" help:"Fail if the homeserver or the proxy cannot be had, instead of testing nothing."`
	Keep bool   `name:"keep" env:"POKED_LIVE_KEEP" help:"Keep logs and data even if every check passes."`
}

// Help is shown by kong under the command's summary.
func (Cmd) Help() string {
	return "Builds Dendrite " + dendriteVersion + " from the Go module proxy, once, and starts it with nginx, poked and push gateways on this machine. Six users " +
		"invite, write, mention, mute, edit, redact, read, upgrade, kick and log out; matrix-js-sdk and mautrix-go start; poked, the homeserver and " +
		"the gateway are away for a while. It prints a table: expected by the specification, Dendrite's own push, poked's. It needs nginx and the " +
		"Go toolchain; for the client libraries also Node.js 20, npm and the network. Exit code 1 if poked differs from the table: the logs are then kept."
}

// Run runs the day and prints the table.
func (c Cmd) Run(ctx context.Context, std terminal.Streams) (err error) {
	dir, err := os.MkdirTemp("", "poked-live-")
	if err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	defer func() {
		if err == nil && !c.Keep {
			err = os.RemoveAll(dir)
			return
		}
		_, _ = fmt.Fprintf(std.Err, "logs and data are in %s\n", dir)
	}()
	began := time.Now()
	w, err := c.prepare(ctx, dir)
	if errors.Is(err, errNoHomeserver) || errors.Is(err, errNoProxy) {
		_, _ = fmt.Fprintf(std.Err, "SKIPPED, nothing was tested at a live homeserver: %v\n", err)
		if !c.Must {
			return nil
		}
	}
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	group, gateways := errgroup.WithContext(ctx)
	for _, s := range []*sink{w.ours, w.theirs} {
		group.Go(func() error { return s.gateway.Run(gateways, discard(), s.take) })
	}
	report := newReport(std.Out)
	err = w.run(ctx, report)
	w.stop()
	stop()
	err = errors.Join(err, group.Wait())
	report.print(time.Since(began))
	if err == nil && report.wrong > 0 {
		err = fmt.Errorf("%d of %d checks are wrong", report.wrong, report.checks)
	}
	return err
}

// prepare makes everything that has to be there before the processes start.
func (c Cmd) prepare(ctx context.Context, dir string) (*world, error) {
	root, err := filepath.Abs(c.Root)
	if err != nil {
		return nil, fmt.Errorf("find the repository: %w", err)
	}
	programs, err := installDendrite(ctx)
	if err != nil {
		return nil, err
	}
	return newWorld(ctx, root, programs, dir)
}

// run starts the deployment, and runs the day, the clients and the outages.
func (w *world) run(ctx context.Context, r *report) error {
	if err := w.start(ctx); err != nil {
		return err
	}
	for _, part := range []func(context.Context, *report) error{w.day, w.outages, w.clients} {
		if err := part(ctx, r); err != nil {
			return err
		}
	}
	return nil
}
