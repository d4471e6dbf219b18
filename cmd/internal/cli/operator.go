package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"poked/cmd/internal/node"
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

// printer prints a list, as a table or as JSON lines.
type printer[T any] struct {
	out   io.Writer
	json  bool
	table *terminal.Table
	cells func(T) []string
}

func newPrinter[T any](std terminal.Streams, asJSON bool, head []string, cells func(T) []string) *printer[T] {
	return &printer[T]{out: std.Out, json: asJSON, table: terminal.NewTable(std.Out, head), cells: cells}
}

// print prints one item, at once or with those that follow.
func (p *printer[T]) print(item T) error {
	if !p.json {
		return p.table.Add(p.cells(item))
	}
	return terminal.PrintJSON(p.out, item)
}

// finish prints the rows that a table still buffers.
func (p *printer[T]) finish() error {
	if p.json {
		return nil
	}
	return p.table.Flush()
}

// stamp returns a time to the second, or "-" for none.
func stamp(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

// relative returns a time relative to now, or "-" for none.
func relative(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	if d := t.Sub(now).Round(time.Second); d > 0 {
		return "in " + d.String()
	}
	return now.Sub(t).Round(time.Second).String() + " ago"
}

// orDash returns a text, or "-" if it is empty.
func orDash[T ~string](word T) string {
	if word == "" {
		return "-"
	}
	return string(word)
}
