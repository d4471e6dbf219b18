package cli

import (
	"context"
	"errors"

	"poked/cmd/internal/node"
	"poked/cmd/internal/terminal"
	"poked/registry"
)

// registryCmd is "poked registry".
type registryCmd struct {
	Serve   registryRunCmd     `cmd:"" name:"run" default:"withargs" help:"Run the registry. This is what poked registry does without a word after it."`
	Restore registryRestoreCmd `cmd:"" help:"Build the database anew from what NATS knows."`
}

// Help is shown by kong under the command's summary.
func (registryCmd) Help() string {
	return "poked registry run --help lists the flags of the registry itself."
}

// registryRunCmd is "poked registry run".
type registryRunCmd struct {
	NATS     string          `name:"nats" required:"" group:"NATS:" env:"POKED_NATS" placeholder:"URL,..." help:"The NATS to use: one URL or several of one cluster."`
	Access   node.NATSFlags  `embed:"" group:"NATS:"`
	Roles    node.RoleFlags  `embed:""`
	Registry registry.Config `embed:"" group:"Registry:"`
}

// checkWhoAsks wants to know how the registry tells who asks.
func checkWhoAsks(cfg registry.Config) error {
	switch {
	case cfg.Tokens == "" && cfg.Homeserver.URL == "":
		return errors.New("--tokens is missing: it says who may set pushers, one 'token user_id [device_id]' a line; or set --homeserver, which knows")
	case cfg.Tokens != "" && cfg.Homeserver.URL != "":
		return errors.New("--tokens and --homeserver exclude each other: both say who an access token belongs to")
	}
	return nil
}

// Validate is called by kong.
func (c *registryRunCmd) Validate() error {
	if c.Registry.Database == "" {
		return errors.New("--database is missing: it says where pushers are kept")
	}
	return errors.Join(checkWhoAsks(c.Registry), node.CheckNATS(c.NATS))
}

// Run runs the registry until ctx ends.
func (c *registryRunCmd) Run(ctx context.Context, std terminal.Streams) error {
	s := node.Stack{Log: c.Roles.Log.Logger(std.Err), Starters: []node.Starter{node.StartRegistry(c.Registry)}}
	return c.Roles.Run(ctx, s.Outside(c.NATS, "poked registry", c.Access))
}
