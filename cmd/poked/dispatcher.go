package main

import (
	"context"

	"poked/dispatcher"
)

// dispatcherCmd is "poked dispatcher".
type dispatcherCmd struct {
	NATS       string            `name:"nats" required:"" group:"NATS:" env:"POKED_NATS" placeholder:"URL,..." help:"The NATS to use: one URL or several of one cluster."`
	Access     natsFlags         `embed:"" group:"NATS:"`
	Roles      roleFlags         `embed:""`
	Dispatcher dispatcher.Config `embed:"" group:"Dispatcher:"`
}

// Validate is called by kong.
func (c *dispatcherCmd) Validate() error { return checkNATS(c.NATS) }

// Run runs a dispatcher until ctx ends.
func (c *dispatcherCmd) Run(ctx context.Context, std streams) error {
	s := stack{adopts: true, log: c.Roles.Log.logger(std.err), starters: []starter{startDispatcher(c.Dispatcher)}}
	return c.Roles.run(ctx, s.outside(c.NATS, "poked dispatcher", c.Access))
}
