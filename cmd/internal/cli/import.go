package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"poked/cmd/internal/node"
	"poked/cmd/internal/terminal"
	"poked/events/homeserver"
	"poked/registry"
	"poked/registry/store"
)

// importCmd is "poked import".
type importCmd struct {
	File       string            `arg:"" name:"file" help:"Exported table of pushers; - means standard input."`
	From       string            `required:"" enum:"synapse,dendrite" env:"POKED_IMPORT_FROM" placeholder:"synapse|dendrite" help:"Homeserver that the table comes from."`
	Database   string            `name:"database" required:"" placeholder:"FILE|URL" type:"database" env:"POKED_DATABASE" help:"Database of the registry, which must be stopped: a SQLite file, created if missing, or a postgres:// URL. For poked serve it is poked.db in the --data directory."`
	ServerName string            `name:"server-name" env:"POKED_SERVER_NAME" placeholder:"NAME" help:"Name of the homeserver, if its table does not contain it (Dendrite before 2023)."`
	Password   passwordFlags     `embed:""`
	DryRun     bool              `env:"POKED_IMPORT_DRY_RUN" help:"Change nothing; only show what would be imported and refused."`
	JSON       bool              `name:"json" env:"POKED_JSON" help:"Print the report as a JSON object on standard output."`
	Gateway    node.GatewayFlags `embed:"" group:"Push gateways:"`
	Homeserver homeserver.Config `embed:"" group:"Homeserver:"`
	Log        node.LogFlags     `embed:"" group:"Log:"`
}

// Validate is called by kong.
func (c *importCmd) Validate() error {
	if (c.Homeserver.URL == "") != (c.Homeserver.Registration == "") {
		return errors.New("--homeserver and --registration go together: with both, the push rules of imported users are fetched")
	}
	return nil
}

// Help is shown by kong under the command's summary.
func (importCmd) Help() string {
	return "The file is CSV with a header row, JSON lines, or a JSON array, made by one of: " +
		`psql synapse -c "\copy (SELECT * FROM pushers) TO 'pushers.csv' CSV HEADER", or ` +
		`sqlite3 -header -csv homeserver.db "SELECT * FROM pushers". ` +
		"Pushers that clients have already set in poked are not changed. Pushers that pushers/set would refuse are not imported; " +
		"each is reported with the reason on standard error, and the exit code is 1. It is safe to run this again. " +
		"With --homeserver and --registration the push rules of the imported users are fetched as well. Those of the others are " +
		"fetched when the registry starts with a registration; nobody is poked before that."
}

// importReport counts the rows of an import.
type importReport struct {
	Rows    int            `json:"rows"`
	Taken   int            `json:"taken"`
	There   int            `json:"there"` // already set here, and not changed
	Refused int            `json:"refused"`
	Reasons map[string]int `json:"reasons"` // of refused rows
	Fetched int            `json:"fetched"` // users whose push rules were fetched
	DryRun  bool           `json:"dry_run"`
}

// Run imports the pushers and prints a report.
func (c *importCmd) Run(ctx context.Context, std terminal.Streams) (err error) {
	policy, err := c.Gateway.Policy()
	if err != nil {
		return err
	}
	in, size, err := c.open(std)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // it was only read
	i, err := registry.OpenImporter(ctx, c.Database, c.Password.options(), policy, c.DryRun)
	if err != nil {
		return err
	}
	con := terminal.NewCounter(std.Err)
	defer con.Finish()
	report := importReport{Reasons: map[string]int{}, DryRun: c.DryRun}
	began := time.Now()
	err = c.importAll(ctx, newImportReader(in), i, &report, con, size)
	if err == nil && c.Homeserver.URL != "" {
		report.Fetched, err = c.fetchRules(ctx, i, std, con)
	}
	err = errors.Join(err, i.Close())
	con.Finish()
	return errors.Join(err, c.conclude(std, &report, time.Since(began)))
}

// open opens the input and returns its size in bytes, 0 if it is unknown.
func (c *importCmd) open(std terminal.Streams) (in importInput, size int64, err error) {
	if c.File == stdinName {
		return importInput{Reader: std.In}, 0, nil
	}
	file, err := os.Open(c.File)
	if err != nil {
		return importInput{}, 0, fmt.Errorf("open input: %w", err)
	}
	info, err := file.Stat()
	if err != nil {
		return importInput{}, 0, errors.Join(fmt.Errorf("open input: %w", err), file.Close())
	}
	return importInput{Reader: file, file: file}, info.Size(), nil
}

// importAll passes every row to the importer.
func (c *importCmd) importAll(ctx context.Context, in *importReader, to *registry.Importer, report *importReport, con *terminal.Counter, size int64) error {
	for row, err := range in.rows() {
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return errors.New("interrupted; what was imported is kept, run it again for the rest")
		}
		report.Rows++
		err = to.Add(ctx, row.pusher(c.From, c.ServerName))
		switch {
		case err == nil:
			report.Taken++
		case errors.Is(err, store.ErrThere):
			report.There++
		case errors.Is(err, store.ErrNotImported):
			report.Refused++
			report.Reasons[err.Error()]++
			con.Printf("row %d: %v", report.Rows, err)
		default:
			return fmt.Errorf("row %d: %w", report.Rows, err)
		}
		con.Reach("bytes", int(in.read.n), int(max(size, in.read.n)))
	}
	return nil
}

// fetchRules fetches the push rules of the imported users.
func (c *importCmd) fetchRules(ctx context.Context, i *registry.Importer, std terminal.Streams, con *terminal.Counter) (int, error) {
	client, reg, err := node.OpenHomeserver(c.Homeserver)
	if err != nil {
		return 0, err
	}
	defer client.Close()
	n, err := i.FetchRules(ctx, client, reg, c.Log.Logger(std.Err), func(done, total int) { con.Reach("users", done, total) })
	if err != nil {
		return n, fmt.Errorf("fetch push rules: %w (the pushers are imported; the registry fetches the rules at its start)", err)
	}
	return n, nil
}

func (c *importCmd) conclude(std terminal.Streams, report *importReport, took time.Duration) error {
	verb := "imported"
	if c.DryRun {
		verb = "would be imported"
	}
	_, _ = fmt.Fprintf(std.Err, "%d rows in %.1f s: %d %s, %d already there, %d refused\n",
		report.Rows, took.Seconds(), report.Taken, verb, report.There, report.Refused)
	if c.JSON {
		if err := terminal.PrintJSON(std.Out, report); err != nil {
			return err
		}
	}
	if report.Refused > 0 {
		return fmt.Errorf("%d of %d rows refused", report.Refused, report.Rows)
	}
	return nil
}
