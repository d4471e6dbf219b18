package cli

import (
	"cmp"
	"context"

	"poked/cmd/internal/node"
	"poked/cmd/internal/terminal"
	"poked/dispatcher"
)

// dispatcherCmd is "poked dispatcher".
type dispatcherCmd struct {
	NATS       string               `name:"nats" required:"" group:"NATS:" env:"POKED_NATS" placeholder:"URL,..." help:"NATS to use: one URL, or several of one cluster."`
	Access     node.NATSFlags       `embed:"" group:"NATS:"`
	Roles      node.RoleFlags       `embed:""`
	Ways       node.DispatcherFlags `embed:""`
	Dispatcher dispatcher.Config    `embed:"" group:"Dispatcher:"`
}

// Validate is called by kong.
func (c *dispatcherCmd) Validate() error {
	return cmp.Or(node.CheckNATS(c.NATS), c.Dispatcher.CheckKeep(c.Roles.Topology.Keep))
}

// Run runs a dispatcher until ctx ends.
func (c *dispatcherCmd) Run(ctx context.Context, std terminal.Streams) error {
	s := node.Stack{Adopts: true, Log: c.Roles.Log.Logger(std.Err), Starters: []node.Starter{node.StartDispatcher(c.Dispatcher, c.Ways)}}
	return c.Roles.Run(ctx, s.Outside(c.NATS, "poked dispatcher", c.Access))
}
