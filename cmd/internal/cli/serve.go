package cli

import (
	"cmp"
	"context"
	"errors"

	"poked/cmd/internal/node"
	"poked/cmd/internal/terminal"
	"poked/dispatcher"
	"poked/events/bridge"
	"poked/registry"
)

// serveCmd is "poked serve".
type serveCmd struct {
	Data       string         `default:"poked-data" env:"POKED_DATA" placeholder:"DIR" help:"Directory for all persistent data; created if missing, accessible by its owner only."`
	NATS       string         `name:"nats" group:"NATS:" env:"POKED_SERVE_NATS" placeholder:"URL,..." help:"Use this NATS instead of the embedded one."`
	NATSListen string         `name:"nats-listen" group:"NATS:" env:"POKED_NATS_LISTEN" placeholder:"ADDR" help:"Address at which the embedded NATS listens for a homeserver, such as 127.0.0.1:4222. It has no password: choose an address that only the homeserver can reach. By default it does not listen."`
	Access     node.NATSFlags `embed:"" group:"NATS:"`
	Fsync      node.FsyncFlag `group:"NATS:" default:"1s" env:"POKED_FSYNC" placeholder:"always|DURATION" help:"How often the embedded NATS syncs to disk: at every write, or at this interval. A power cut can lose this much; a crash of poked loses nothing."`

	BridgeHTTP string `name:"bridge-http" group:"Bridge:" env:"POKED_BRIDGE_HTTP" placeholder:"ADDR" help:"Also run the bridge: listen at this address for a homeserver's application service requests; see poked bridge."`

	Bridge     bridge.Config        `embed:"" group:"Bridge:"`
	Registry   registry.Config      `embed:"" group:"Registry:"`
	Dispatcher dispatcher.Config    `embed:"" group:"Dispatcher:"`
	Roles      node.RoleFlags       `embed:""`
	Ways       node.DispatcherFlags `embed:""`
}

// Help is shown by kong under the command's summary.
func (serveCmd) Help() string {
	return "With --nats-listen a homeserver can publish room events to the embedded NATS; the README has the contract. " +
		"The database is poked.db in the --data directory unless --database is set."
}

// Validate is called by kong.
func (c *serveCmd) Validate() error {
	if err := checkAuth(c.Registry); err != nil {
		return err
	}
	if err := cmp.Or(c.checkBridge(), c.Dispatcher.CheckKeep(c.Roles.Topology.Keep)); err != nil {
		return err
	}
	switch {
	case c.NATS != "" && c.NATSListen != "":
		return errors.New("--nats and --nats-listen exclude each other: one uses an external NATS, the other opens the embedded one")
	case c.NATS != "":
		return node.CheckNATS(c.NATS)
	case c.Access != (node.NATSFlags{}):
		return errors.New("--nats-creds and --nats-tls-… need --nats: the embedded NATS has no credentials")
	case c.Roles.Topology.Replicas > 1:
		return errors.New("--replicas needs --nats: the embedded NATS is a single server")
	case c.NATSListen != "":
		if _, _, err := node.SplitAddr(c.NATSListen); err != nil {
			return errors.New("--nats-listen must be an address such as 127.0.0.1:4222")
		}
	}
	return nil
}

// checkBridge validates the flags of the bridge, if it is enabled.
func (c *serveCmd) checkBridge() error {
	if c.BridgeHTTP == "" {
		return nil
	}
	if _, _, err := node.SplitAddr(c.BridgeHTTP); err != nil {
		return errors.New("--bridge-http must be an address such as 127.0.0.1:8721")
	}
	return checkBridge(c.Registry.Homeserver)
}

// Run runs everything until ctx ends.
func (c *serveCmd) Run(ctx context.Context, std terminal.Streams) error {
	log := c.Roles.Log.Logger(std.Err)
	dir, err := node.OpenDataDir(c.Data)
	if err != nil {
		return err
	}
	defer dir.Close()
	if c.Registry.Database == "" {
		c.Registry.Database = dir.Below("poked.db")
	}
	s := node.Stack{
		Log:      log,
		Where:    []any{"data", dir.Path},
		Data:     dir,
		Starters: []node.Starter{node.StartRegistry(c.Registry, c.Ways.Route), node.StartDispatcher(c.Dispatcher, c.Ways)},
	}
	if c.BridgeHTTP != "" {
		c.Bridge.HTTP = c.BridgeHTTP
		s.Starters = append(s.Starters, node.StartBridge(c.Bridge, c.Registry.Homeserver))
	}
	if c.NATS != "" {
		return c.Roles.Run(ctx, s.Outside(c.NATS, "poked serve", c.Access))
	}
	return c.Roles.RunEmbedded(ctx, s, dir, node.NATSOptions{Dir: dir.Below("nats"), Listen: c.NATSListen, Sync: c.Fsync, Log: log})
}
