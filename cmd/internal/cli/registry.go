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
	Serve   registryRunCmd     `cmd:"" name:"run" default:"withargs" help:"Run the registry (the default)."`
	Copy    registryCopyCmd    `cmd:"" help:"Copy the database, from SQLite to PostgreSQL or back."`
	Backup  registryBackupCmd  `cmd:"" help:"Back up a SQLite database while the registry runs."`
	Restore registryRestoreCmd `cmd:"" help:"Rebuild a lost database from NATS."`
}

// Help is shown by kong under the command's summary.
func (registryCmd) Help() string {
	return "See poked registry run --help for the flags of the registry."
}

// registryRunCmd is "poked registry run".
type registryRunCmd struct {
	NATS     string          `name:"nats" required:"" group:"NATS:" env:"POKED_NATS" placeholder:"URL,..." help:"NATS to use: one URL, or several of one cluster."`
	Access   node.NATSFlags  `embed:"" group:"NATS:"`
	Roles    node.RoleFlags  `embed:""`
	Route    node.RouteFlags `embed:"" group:"Push gateways:"`
	Registry registry.Config `embed:"" group:"Registry:"`
}

// checkAuth checks that exactly one way to authenticate requests is configured.
func checkAuth(cfg registry.Config) error {
	switch {
	case cfg.Tokens == "" && cfg.Homeserver.URL == "":
		return errors.New("--tokens is missing: a file with one 'token user_id [device_id]' per line; or set --homeserver to check tokens there")
	case cfg.Tokens != "" && cfg.Homeserver.URL != "":
		return errors.New("--tokens and --homeserver exclude each other: both authenticate access tokens")
	}
	return nil
}

// Validate is called by kong.
func (c *registryRunCmd) Validate() error {
	if c.Registry.Database == "" {
		return errors.New("--database is missing: the SQLite file, or the URL of the PostgreSQL database, that stores pushers")
	}
	return errors.Join(checkAuth(c.Registry), node.CheckNATS(c.NATS))
}

// Run runs the registry until ctx ends.
func (c *registryRunCmd) Run(ctx context.Context, std terminal.Streams) error {
	s := node.Stack{Log: c.Roles.Log.Logger(std.Err), Starters: []node.Starter{node.StartRegistry(c.Registry, c.Route)}}
	return c.Roles.Run(ctx, s.Outside(c.NATS, "poked registry", c.Access))
}
