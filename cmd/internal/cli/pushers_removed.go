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
	Database string        `name:"database" required:"" placeholder:"FILE" type:"path" env:"POKED_DATABASE" help:"SQLite database of the registry, which may run. poked serve keeps it as poked.db in its directory --data."`
	User     events.UserID `env:"POKED_PUSHERS_USER" placeholder:"USER_ID" help:"Only this user's."`
	Limit    int           `default:"100" env:"POKED_PUSHERS_LIMIT" placeholder:"N" help:"At most so many, the newest."`
	JSON     bool          `name:"json" env:"POKED_JSON" help:"Print JSON, one object a line."`
}

// Help is shown by kong under the command's summary.
func (pushersRemovedCmd) Help() string {
	return "The reasons: deleted (by its client), logout, password changed, account deactivated, device is gone (the homeserver " +
		"said so when it was asked), set by another user, rejected by a gateway. The last twenty of each user are kept."
}

// Validate is called by kong.
func (c *pushersRemovedCmd) Validate() error {
	if c.Limit < 1 {
		return errors.New("--limit must be at least 1")
	}
	return nil
}

// Run prints which pushers went, and why.
func (c *pushersRemovedCmd) Run(ctx context.Context, std terminal.Streams) error {
	list, err := registry.Removals(ctx, c.Database, c.User, c.Limit)
	if err != nil {
		return err
	}
	p := newPrinter(std, c.JSON, []string{"REMOVED", "USER", "APP", "PUSHER", "REASON"}, func(r registry.Removal) []string {
		return []string{stamp(time.Unix(r.At, 0)), string(r.UserID), r.AppID, string(r.PusherID), r.Reason}
	})
	for _, removal := range list {
		if err := p.print(removal); err != nil {
			return err
		}
	}
	return p.finish()
}
