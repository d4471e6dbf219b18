package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"poked/cmd/internal/node"
	"poked/cmd/internal/terminal"
	"poked/events/bridge"
	"poked/events/homeserver"
	"poked/events/stream"
)

// bridgeCmd is "poked bridge".
type bridgeCmd struct {
	Run          bridgeRunCmd          `cmd:"" default:"withargs" help:"Receive room events from a homeserver as its application service (the default)."`
	Registration bridgeRegistrationCmd `cmd:"" help:"Write the registration file for the homeserver and poked."`
	Backfill     bridgeBackfillCmd     `cmd:"" help:"Fetch the state of all rooms of users who have pushers."`
}

// bridgeRunCmd is "poked bridge run".
type bridgeRunCmd struct {
	NATS       string            `name:"nats" required:"" group:"NATS:" env:"POKED_NATS" placeholder:"URL,..." help:"NATS to use: one URL, or several of one cluster."`
	Access     node.NATSFlags    `embed:"" group:"NATS:"`
	Ops        node.OpsFlags     `embed:"" group:"Operations:"`
	HTTP       string            `name:"bridge-http" default:"127.0.0.1:8721" env:"POKED_BRIDGE_HTTP" placeholder:"ADDR" help:"Address to listen on for the homeserver."`
	Homeserver homeserver.Config `embed:""`
	Bridge     bridge.Config     `embed:""`
	Log        node.LogFlags     `embed:"" group:"Log:"`
}

// Help is shown by kong under the command's summary.
func (bridgeRunCmd) Help() string {
	return "The homeserver sends room events and read receipts to --bridge-http. The bridge answers once NATS has stored " +
		"them. For a room that it does not know yet it first fetches the room state from the homeserver. Start with poked bridge registration."
}

// Validate is called by kong.
func (c *bridgeRunCmd) Validate() error {
	if _, _, err := node.SplitAddr(c.HTTP); err != nil {
		return errors.New("--bridge-http must be an address such as 127.0.0.1:8721")
	}
	return errors.Join(checkBridge(c.Homeserver), node.CheckNATS(c.NATS))
}

// checkBridge reports a missing flag that a bridge needs.
func checkBridge(cfg homeserver.Config) error {
	switch {
	case cfg.URL == "":
		return errors.New("--homeserver is missing: the bridge asks it for the state of rooms")
	case cfg.Registration == "":
		return errors.New("--registration is missing: it holds the tokens that the homeserver and poked share; poked bridge registration writes it")
	}
	return nil
}

// Run runs a bridge until ctx ends.
func (c *bridgeRunCmd) Run(ctx context.Context, std terminal.Streams) error {
	log := c.Log.Logger(std.Err)
	c.Bridge.HTTP = c.HTTP
	o, err := node.OpenOps(ctx, c.Ops, log)
	if err != nil {
		return err
	}
	defer o.Close()
	s := node.Stack{Log: log, Where: o.Where(), Starters: []node.Starter{node.StartBridge(c.Bridge, c.Homeserver)}}
	return s.Outside(c.NATS, "poked bridge", c.Access).Run(ctx, nil, o, func(ctx context.Context, conn *stream.Conn) error {
		return awaitStreams(ctx, conn, log)
	})
}

// streamsCheck is the pause between two checks whether the streams exist.
const streamsCheck = time.Second

// awaitStreams returns once a registry or a dispatcher has set up the streams.
func awaitStreams(ctx context.Context, conn *stream.Conn, log *slog.Logger) error {
	tick := time.NewTicker(streamsCheck)
	defer tick.Stop()
	for first := true; ; first = false {
		err := conn.Join(ctx)
		if err == nil {
			return nil
		}
		if first {
			log.Info("waiting for a registry or a dispatcher to set up the streams", "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// bridgeRegistrationCmd is "poked bridge registration".
type bridgeRegistrationCmd struct {
	ServerName string `name:"server-name" required:"" env:"POKED_SERVER_NAME" placeholder:"NAME" help:"Name of the homeserver: the part of user ids after the colon."`
	URL        string `name:"url" default:"http://127.0.0.1:8721" env:"POKED_BRIDGE_URL" placeholder:"URL" help:"URL at which the homeserver reaches the bridge."`
	Out        string `name:"out" type:"path" env:"POKED_REGISTRATION_OUT" placeholder:"FILE" help:"Write to this file, readable by its owner only, instead of standard output. An existing file is never overwritten."`
}

// Validate is called by kong.
func (c *bridgeRegistrationCmd) Validate() error {
	_, err := bridge.NewRegistration(c.ServerName, c.URL)
	return err
}

// Run writes a registration with new tokens.
func (c *bridgeRegistrationCmd) Run(std terminal.Streams) error {
	text, err := bridge.NewRegistration(c.ServerName, c.URL)
	if err != nil {
		return err
	}
	if c.Out == "" {
		if _, err := fmt.Fprint(std.Out, text); err != nil {
			return fmt.Errorf("print registration: %w", err)
		}
		return nil
	}
	file, err := os.OpenFile(c.Out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("write registration: %w", err)
	}
	_, err = file.WriteString(text)
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("write registration: %w", err)
	}
	_, _ = fmt.Fprintf(std.Err, "wrote %s: give it to the homeserver, and to poked with --registration\n", c.Out)
	return nil
}
