// Package role has the hidden subcommands by which pokelab starts itself again: as poked, of the
// same build, and as a NATS server. Package child starts and ends such processes. Only what is
// the whole program imports this package, since all of poked comes with it.
package role

import (
	"context"
	"fmt"
	"strings"

	"poked/cmd/internal/child"
	"poked/cmd/internal/cli"
	"poked/cmd/internal/terminal"
)

// Commands are the hidden subcommands that a program needs to start roles of poked and NATS.
type Commands struct {
	Poked pokedCmd `cmd:"" hidden:"" help:"Run a subcommand of poked."`
	NATS  natsCmd  `cmd:"" name:"nats-node" hidden:"" help:"Run a NATS server of a cluster."`
}

// pokedCmd runs a subcommand of poked, of the same build, until its standard input ends.
type pokedCmd struct {
	Args []string `arg:"" passthrough:"" help:"The subcommand and its flags."`
}

// Run runs the subcommand until ctx or standard input ends.
func (c pokedCmd) Run(ctx context.Context, std terminal.Streams) error {
	ctx, stop := child.WithParent(ctx, std.In)
	defer stop()
	args := c.Args
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if code := cli.Poked().Run(ctx, args, strings.NewReader(""), std.Out, std.Err); code != cli.ExitOK {
		return fmt.Errorf("exit code %d", code)
	}
	return nil
}
