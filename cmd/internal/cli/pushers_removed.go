package cli

import (
	"context"
	"errors"
	"time"

	"poked/cmd/internal/terminal"
	"poked/events"
	"poked/registry"
)

// pushersRemovedCmd is "poked pushers removed".
type pushersRemovedCmd struct {
	Database string        `name:"database" required:"" placeholder:"FILE|URL" type:"database" env:"POKED_DATABASE" help:"Database of the registry, which may be running: a SQLite file or a postgres:// URL. For poked serve it is poked.db in the --data directory."`
	Password passwordFlags `embed:""`
	User     userFlag      `env:"POKED_PUSHERS_USER" placeholder:"USER_ID" help:"Only pushers of this user."`
	Limit    int           `default:"100" env:"POKED_PUSHERS_LIMIT" placeholder:"N" help:"Maximum number to list, newest first."`
	List     listFlags     `embed:""`
	JSON     bool          `name:"json" env:"POKED_JSON" help:"Print JSON, one object per line."`
}

// Help is shown by kong under the command's summary.
func (pushersRemovedCmd) Help() string {
	return "Reasons: deleted (by its client), logout, password changed, account deactivated, device is gone (on the homeserver), " +
		"set by another user, rejected by a gateway. The last 20 of each user are kept."
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
	list, err := registry.Removals(ctx, c.Database, c.Password.options(), events.UserID(c.User), c.Limit)
	if err != nil {
		return err
	}
	columns := []terminal.Column{
		{Title: "REMOVED"}, {Title: "USER", Least: 12}, {Title: "APP", Under: true, Least: 12}, {Title: "REASON", Least: 12}, {Title: "PUSHER", Under: true},
	}
	p := newPrinter(std, c.JSON, c.List, "no removed pusher matches", columns, func(r registry.Removal) []string {
		return []string{stamp(time.Unix(r.At, 0)), string(r.UserID), r.AppID, r.Reason, string(r.PusherID)}
	})
	for _, removal := range list {
		if err := p.print(removal); err != nil {
			return err
		}
	}
	return p.finish()
}
