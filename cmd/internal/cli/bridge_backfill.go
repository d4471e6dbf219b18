package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"poked/cmd/internal/node"
	"poked/cmd/internal/terminal"
	"poked/events"
	"poked/events/bridge"
	"poked/events/homeserver"
)

// bridgeBackfillCmd is "poked bridge backfill".
type bridgeBackfillCmd struct {
	NATS       string            `name:"nats" default:"nats://127.0.0.1:4222" env:"POKED_NATS" placeholder:"URL,..." help:"NATS that poked uses."`
	Access     node.NATSFlags    `embed:"" group:"NATS:"`
	Homeserver homeserver.Config `embed:""`
	Users      []userFlag        `name:"user" env:"POKED_BACKFILL_USERS" placeholder:"USER_ID" help:"Include the rooms of these users, besides those of all users who have pushers."`
	Rooms      []roomFlag        `name:"room" env:"POKED_BACKFILL_ROOMS" placeholder:"ROOM_ID" help:"Fetch the state of these rooms only, also if poked already knows it. A user who has a pusher, or one of --user, must be joined."`
	Rate       float64           `default:"5" env:"POKED_BACKFILL_RATE" placeholder:"N" help:"Rooms per second to fetch at most; 0 means unlimited."`
	Again      bool              `env:"POKED_BACKFILL_AGAIN" help:"Also fetch the state of rooms that poked already knows."`
	JSON       bool              `name:"json" env:"POKED_JSON" help:"Print the summary as a JSON object on standard output."`
}

// Help is shown by kong under the command's summary.
func (bridgeBackfillCmd) Help() string {
	return "Without a backfill the bridge fetches the state of a room when the room's first event arrives. An interrupted backfill " +
		"continues at the next run. It is safe beside a running bridge: newer state from the homeserver wins. " +
		"Exit code 1 means that the state of some rooms could not be fetched; run it again then."
}

// Validate is called by kong.
func (c *bridgeBackfillCmd) Validate() error {
	if c.Rate < 0 || math.IsNaN(c.Rate) {
		return errors.New("--rate must not be negative")
	}
	return errors.Join(checkBridge(c.Homeserver), node.CheckNATS(c.NATS))
}

// Run fetches all states and prints a summary.
func (c *bridgeBackfillCmd) Run(ctx context.Context, std terminal.Streams) error {
	client, reg, err := node.OpenHomeserver(c.Homeserver)
	if err != nil {
		return err
	}
	defer client.Close()
	con := terminal.NewCounter(std.Err)
	defer con.Finish()
	conn, err := connectNATS(ctx, c.NATS, "poked bridge backfill", c.Access, con)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // what was stored was acknowledged
	if err := conn.Join(ctx); err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(con, &slog.HandlerOptions{Level: slog.LevelWarn}))
	began := time.Now()
	sum, err := bridge.RunBackfill(ctx, bridge.Backfill{
		Users: asIDs[events.UserID](c.Users), Rooms: asIDs[events.RoomID](c.Rooms), Again: c.Again, Rate: c.Rate, Progress: con.Reach,
	}, client, reg, conn, log)
	con.Finish()
	if errors.Is(err, bridge.ErrNobodyJoined) {
		return fmt.Errorf("%w: name one who is with --user", err)
	}
	return errors.Join(err, c.conclude(std, sum, time.Since(began)))
}

func (c *bridgeBackfillCmd) conclude(std terminal.Streams, sum bridge.Backfilled, took time.Duration) error {
	_, _ = fmt.Fprintf(std.Err, "%d rooms of %d users in %.1f s: %d fetched, %d known before, %d refused, %d failed\n",
		sum.Rooms, sum.Users, took.Seconds(), sum.Fetched, sum.Known, sum.Refused, sum.Failed)
	if c.JSON {
		if err := terminal.PrintJSON(std.Out, sum); err != nil {
			return err
		}
	}
	if sum.Failed > 0 {
		return fmt.Errorf("the state of %d rooms could not be fetched: run it again", sum.Failed)
	}
	return nil
}
