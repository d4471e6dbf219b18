package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"poked/cmd/internal/terminal"
	"poked/registry/database"
	"poked/registry/store"
)

// registryCopyCmd is "poked registry copy".
type registryCopyCmd struct {
	From             string `required:"" placeholder:"FILE|URL" type:"database" env:"POKED_COPY_FROM" help:"Database to copy: a SQLite file or a postgres:// URL."`
	To               string `required:"" placeholder:"FILE|URL" type:"database" env:"POKED_COPY_TO" help:"Database to write: a SQLite file or a postgres:// URL. It must not exist, or have no users."`
	FromPasswordFile string `placeholder:"FILE" type:"path" env:"POKED_COPY_FROM_PASSWORD_FILE" help:"File with the password for --from in its first line."`
	ToPasswordFile   string `placeholder:"FILE" type:"path" env:"POKED_COPY_TO_PASSWORD_FILE" help:"File with the password for --to in its first line."`
	DryRun           bool   `env:"POKED_COPY_DRY_RUN" help:"Only count what would be copied, and check that the copy can begin. Registries may be running."`
	JSON             bool   `name:"json" env:"POKED_JSON" help:"Print the result as a JSON object."`
}

// Help is shown by kong under the command's summary.
func (registryCopyCmd) Help() string {
	return "Use this to move a deployment from SQLite to PostgreSQL, or back: stop all registries, copy, and start them with the " +
		"new --database. Clients get errors meanwhile; pokes go on. Everything moves along: pushers, push rules, their versions, the " +
		"history of removed pushers, and what is not published yet. The copy is all or nothing, and in the end both databases are " +
		"compared row by row. The source is not changed, except that its schema is brought to the version of this program."
}

// Validate is called by kong.
func (c *registryCopyCmd) Validate() error {
	if c.From == c.To {
		return errors.New("--from and --to are the same database")
	}
	return nil
}

// copySummary is what --json prints.
type copySummary struct {
	Tables []store.Copied `json:"tables"`
	DryRun bool           `json:"dry_run"`
}

// Run copies the database and prints a summary.
func (c *registryCopyCmd) Run(ctx context.Context, std terminal.Streams) error {
	from := store.Endpoint{Address: c.From, Options: database.Options{PasswordFile: c.FromPasswordFile}}
	to := store.Endpoint{Address: c.To, Options: database.Options{PasswordFile: c.ToPasswordFile}}
	con, done, began := terminal.NewCounter(std.Err), 0, time.Now()
	defer con.Finish()
	total := 0
	if found, err := store.CountRows(ctx, from); err == nil { // if it cannot be read, the copy says why
		total = 2 * rowsOf(found) // each is copied and checked
	}
	tables, err := store.Copy(ctx, from, to, c.DryRun, func(rows int) {
		if done += rows; done%1000 == 0 {
			con.Reach("rows", done, max(total, done))
		}
	})
	con.Finish()
	if err != nil {
		return err
	}
	verb := "copied and compared"
	if c.DryRun {
		verb = "would copy"
	}
	_, _ = fmt.Fprintf(std.Err, "%s %d rows in %.1f s\n", verb, rowsOf(tables), time.Since(began).Seconds()) // what counts is the exit code
	if c.JSON {
		return terminal.PrintJSON(std.Out, copySummary{Tables: tables, DryRun: c.DryRun})
	}
	for _, t := range tables {
		if _, err := fmt.Fprintf(std.Out, "%-20s %d\n", t.Table, t.Rows); err != nil {
			return fmt.Errorf("print: %w", err)
		}
	}
	return nil
}

func rowsOf(tables []store.Copied) (n int) {
	for _, t := range tables {
		n += t.Rows
	}
	return n
}

// registryBackupCmd is "poked registry backup".
type registryBackupCmd struct {
	Database string `name:"database" required:"" placeholder:"FILE|URL" type:"database" env:"POKED_DATABASE" help:"SQLite file of the registry, which may be running. For poked serve it is poked.db in the --data directory."`
	To       string `required:"" placeholder:"FILE" type:"path" env:"POKED_BACKUP_TO" help:"File to write. It must not exist."`
}

// Help is shown by kong under the command's summary.
func (registryBackupCmd) Help() string {
	return "The backup is one consistent state, checked and synced to disk. To restore it, stop the registry, remove its database " +
		"with the -wal and -shm files, and put a copy of the backup in its place: the registry makes NATS follow it at its start. " +
		"PostgreSQL has pg_dump and pg_basebackup instead. For continuous replication run Litestream beside the registry with this " +
		"file: it is in WAL mode, as Litestream needs, and a file that Litestream restores is treated like a backup."
}

// Run writes the backup.
func (c *registryBackupCmd) Run(ctx context.Context, std terminal.Streams) error {
	if err := database.Backup(ctx, c.Database, c.To); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(std.Err, "backed up to %s\n", c.To) // what counts is the exit code
	return nil
}
