package cli

import (
	"context"
	"errors"
	"time"

	"poked/cmd/internal/operate"
	"poked/cmd/internal/terminal"
	"poked/events"
	"poked/events/operator"
	"poked/events/stream"
	"poked/registry/store"
)

// pushersRemovedCmd is "poked pushers removed".
type pushersRemovedCmd struct {
	Operator operatorFlags `embed:""`
	Database string        `name:"database" placeholder:"FILE|URL" type:"database" env:"POKED_DATABASE" help:"Read this database of a registry instead of asking one over NATS: a SQLite file or a postgres:// URL. For poked serve it is poked.db in the --data directory."`
	Password passwordFlags `embed:""`
	User     userFlag      `env:"POKED_PUSHERS_USER" placeholder:"USER_ID" help:"Only pushers of this user."`
	Limit    int           `default:"100" env:"POKED_PUSHERS_LIMIT" placeholder:"N" help:"Maximum number to list, newest first."`
	List     listFlags     `embed:""`
}

// Help is shown by kong under the command's summary.
func (pushersRemovedCmd) Help() string {
	return "Asks a running registry over NATS, or reads its database. Reasons: deleted (by its client), logout, password changed, account deactivated, device is gone (on the homeserver), " +
		"set by another user, rejected by a gateway, its gateway gone for longer than --retire-after. The last 20 of each user are kept. Exit code 1 if no registry answers."
}

// Validate is called by kong.
func (c *pushersRemovedCmd) Validate() error {
	if c.Limit < 1 {
		return errors.New("--limit must be at least 1")
	}
	return nil
}

// Run prints the removed pushers with the reasons.
func (c *pushersRemovedCmd) Run(ctx context.Context, std terminal.Streams) error {
	list, err := c.list(ctx, std)
	if err != nil {
		return err
	}
	columns := []terminal.Column{
		{Title: "REMOVED"}, {Title: "USER", Least: 12}, {Title: "APP", Under: true, Least: 12}, {Title: "REASON", Least: 12}, {Title: "PUSHER", Under: true},
	}
	p := newPrinter(std, c.Operator.JSON, c.List, "no removed pusher matches", columns, func(r events.Removal) []string {
		return []string{operate.Stamp(time.Unix(r.At, 0)), string(r.UserID), r.AppID, r.Reason, string(r.PusherID)}
	})
	for _, removal := range list {
		if err := p.print(removal); err != nil {
			return err
		}
	}
	return p.finish()
}

// list returns the removals.
func (c *pushersRemovedCmd) list(ctx context.Context, std terminal.Streams) (list []events.Removal, err error) {
	if c.Database != "" {
		return store.Removals(ctx, c.Database, c.Password.options(), events.UserID(c.User), c.Limit)
	}
	err = c.Operator.with(ctx, std, func(conn *stream.Conn) error {
		list, err = operator.NewClient(conn).Removals(ctx, events.UserID(c.User), c.Limit)
		return err
	})
	return list, err
}
