package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"poked/cmd/internal/node"
	"poked/cmd/internal/terminal"
	"poked/events/stream"
	"poked/registry"
	"poked/registry/store"
)

// registryRestoreCmd is "poked registry restore".
type registryRestoreCmd struct {
	FromNATS bool          `name:"from-nats" required:"" env:"POKED_RESTORE_FROM_NATS" help:"Confirm that the database is rebuilt from NATS, which is the only source."`
	Database string        `name:"database" type:"database" env:"POKED_DATABASE" placeholder:"FILE|URL" help:"Database to build: a SQLite file or a postgres:// URL. It must not exist, or have no users."`
	Password passwordFlags `embed:""`
	Data     string        `name:"data" type:"path" env:"POKED_RESTORE_DATA" placeholder:"DIR" help:"Data directory of a stopped poked serve: restore its database from the files of its embedded NATS."`
	DryRun   bool          `name:"dry-run" env:"POKED_RESTORE_DRY_RUN" help:"Only show what would be restored."`
	Operator operatorFlags `embed:""`
}

// Help is shown by kong under the command's summary.
func (registryRestoreCmd) Help() string {
	return "Use this if the database is lost and there is no backup. Stop the registry first, and use its NATS credentials. " +
		"The restore is all or nothing. The reasons why pushers were removed are not in NATS and are lost. Exit code 1 means that " +
		"some values could not be read: the others are restored, and the registry deletes the unreadable ones from NATS at its next start."
}

// restoreSummary is what --json prints.
type restoreSummary struct {
	store.Restored

	DryRun bool `json:"dry_run"`
}

// Validate is called by kong.
func (c *registryRestoreCmd) Validate() error {
	if c.Database == "" && c.Data == "" {
		return errors.New("--database is missing: the file or the PostgreSQL database to build")
	}
	return nil
}

// Run builds the database and prints a summary.
func (c *registryRestoreCmd) Run(ctx context.Context, std terminal.Streams) error {
	restore := func(conn *stream.Conn) error { return c.restore(ctx, std, conn) }
	if c.Data == "" {
		return c.Operator.with(ctx, std, restore)
	}
	return c.withEmbedded(ctx, std, restore)
}

// withEmbedded calls do with a connection to an embedded NATS on the files of a stopped
// poked serve.
func (c *registryRestoreCmd) withEmbedded(ctx context.Context, std terminal.Streams, do func(*stream.Conn) error) error {
	if _, err := os.Stat(c.Data); err != nil { // or OpenDataDir would create it
		return fmt.Errorf("open data directory: %w", err)
	}
	dir, err := node.OpenDataDir(c.Data)
	if err != nil {
		return err
	}
	defer dir.Close()
	if c.Database == "" {
		c.Database = dir.Below("poked.db")
	}
	log := node.LogFlags{Level: slog.LevelWarn}.Logger(std.Err)
	nats, err := node.StartNATS(node.NATSOptions{Dir: dir.Below("nats"), Sync: node.FsyncFlag{Always: true}, Log: log})
	if err != nil {
		return err
	}
	defer nats.Stop()
	conn, err := stream.Connect(ctx, stream.Config{Name: "poked registry restore", InProcess: nats, Log: log})
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // nothing was written to NATS
	return do(conn)
}

func (c *registryRestoreCmd) restore(ctx context.Context, std terminal.Streams, conn *stream.Conn) error {
	total, err := conn.StoredUsers(ctx)
	if err != nil {
		return err
	}
	con := terminal.NewCountConsole(std.Err, "restoring", int(total)) //nolint:gosec // a count of users
	restored, err := registry.Restore(ctx, c.Database, c.Password.options(), conn, c.DryRun, func() { con.Advance(1) })
	con.Finish()
	if err != nil {
		return err
	}
	return c.conclude(std, restoreSummary{Restored: restored, DryRun: c.DryRun})
}

func (c *registryRestoreCmd) conclude(std terminal.Streams, s restoreSummary) error {
	verb := "restored"
	if s.DryRun {
		verb = "would restore"
	}
	line := fmt.Sprintf("%s %d pushers of %d users, %d rules of %d users", verb, s.Pushers, s.Users, s.Rules, s.RuleUsers)
	if s.Unreadable == 0 {
		_, _ = fmt.Fprintln(std.Err, line) // what counts is the exit code
	}
	if c.Operator.JSON {
		if err := terminal.PrintJSON(std.Out, s); err != nil {
			return err
		}
	}
	if s.Unreadable > 0 {
		return errors.New(line + fmt.Sprintf("; %d values could not be read", s.Unreadable))
	}
	return nil
}
