package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"poked/cmd/internal/node"
	"poked/cmd/internal/operate"
	"poked/cmd/internal/terminal"
	"poked/events/stream"
)

// natsPatience is how long a one-shot command waits for a connection to NATS.
const natsPatience = 5 * time.Second

// operatorFlags are the common flags of the operator's commands.
type operatorFlags struct {
	NATS   string         `name:"nats" default:"nats://127.0.0.1:4222" env:"POKED_NATS" placeholder:"URL,..." help:"NATS that poked uses."`
	Access node.NATSFlags `embed:""`
	JSON   bool           `name:"json" env:"POKED_JSON" help:"Print JSON, one object per line."`
}

// Validate is called by kong.
func (f operatorFlags) Validate() error { return node.CheckNATS(f.NATS) }

// with calls do with a connection, and closes it.
func (f operatorFlags) with(ctx context.Context, std terminal.Streams, do func(*stream.Conn) error) error {
	conn, err := connectNATS(ctx, f.NATS, "poked operator", f.Access, std.Err)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // everything written was acknowledged
	return do(conn)
}

// connectNATS connects a one-shot command. Warnings go to w.
func connectNATS(ctx context.Context, urls, name string, access node.NATSFlags, w io.Writer) (*stream.Conn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, natsPatience,
		fmt.Errorf("no NATS answers at %s within %s", node.RedactNATS(urls), natsPatience))
	defer cancel()
	log := slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelWarn}))
	return stream.Connect(ctx, stream.Config{URL: urls, Name: name, Credentials: access.Credentials(), Log: log})
}

// listFlags are the flags of a command that lists things.
type listFlags struct {
	Wide     bool `env:"POKED_WIDE" xor:"form" help:"Print one line for each, however wide the terminal is. Output that is no terminal is always printed so."`
	Vertical bool `env:"POKED_VERTICAL" xor:"form" help:"Print a line for each property. One thing alone is printed so on a terminal."`
}

// printer prints a list, as a table or as JSON lines.
type printer[T any] struct {
	std     terminal.Streams
	json    bool
	flags   listFlags
	table   *terminal.Table
	cells   func(T) []string
	count   int
	nothing string // is said if the list is empty
}

// newPrinter returns a printer of a list that is called nothing if it is empty.
func newPrinter[T any](std terminal.Streams, asJSON bool, flags listFlags, nothing string, columns []terminal.Column, cells func(T) []string) *printer[T] {
	p := &printer[T]{std: std, json: asJSON, flags: flags, nothing: nothing, cells: cells, table: terminal.NewTable(std.Out, columns)}
	if flags.Wide {
		p.table.Wide()
	}
	if flags.Vertical {
		p.table.Vertical()
	}
	return p
}

// print prints one item, at once or with those that follow.
func (p *printer[T]) print(item T) error {
	p.count++
	if p.json {
		return terminal.PrintJSON(p.std.Out, item)
	}
	return p.table.Add(p.cells(item))
}

// finish prints the rows that a table still buffers.
func (p *printer[T]) finish() error {
	switch {
	case p.count == 0:
		_, _ = fmt.Fprintln(p.std.Err, p.nothing) // what counts is the list
		return nil
	case p.json:
		return nil
	case p.count == 1 && !p.flags.Wide && terminal.IsTerminal(p.std.Out):
		p.table.Vertical()
	}
	return p.table.Flush()
}

// orDash returns a text, or "-" if it is empty.
func orDash[T ~string](word T) string {
	if word == "" {
		return "-"
	}
	return string(word)
}

// countOrDash returns a number, or "-" if it is 0.
func countOrDash[T int | uint64](n T) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprint(n)
}

// warnMissing returns a function that writes a warning to w about a part of an answer that is
// missing.
func warnMissing(w io.Writer) operate.Missing {
	return func(what string, err error) { _, _ = fmt.Fprintf(w, "without %s: %v\n", what, err) } // what counts is the rest
}
