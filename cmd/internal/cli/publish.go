package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"iter"
	"math"
	"os"
	"time"

	"golang.org/x/time/rate"

	"poked/cmd/internal/node"
	"poked/cmd/internal/terminal"
	"poked/events/publish"
	"poked/events/stream"
)

// publishCmd is "poked publish", which publishes files as a homeserver would.
type publishCmd struct {
	Files      []string       `arg:"" optional:"" name:"file" help:"Files to read, in this order. Without any, or for -, standard input."`
	NATS       string         `name:"nats" default:"nats://127.0.0.1:4222" env:"POKED_NATS" placeholder:"URL,..." help:"NATS that poked uses."`
	Access     node.NATSFlags `embed:""`
	Rate       float64        `default:"0" env:"POKED_PUBLISH_RATE" placeholder:"N" help:"Records per second at most; 0 means as fast as NATS stores them."`
	Historical bool           `env:"POKED_PUBLISH_HISTORICAL" help:"Publish past events: they change room state and notify nobody."`
	JSON       bool           `name:"json" env:"POKED_PUBLISH_JSON" help:"Print the summary as a JSON object on standard output."`
}

// Help is shown by kong under the command's summary.
func (publishCmd) Help() string {
	return "Each line is a room event in the client-server format with room_id, or an m.receipt EDU. " +
		"An invalid line is reported on standard error and skipped; the exit code is then 1."
}

// Validate is called by kong.
func (c *publishCmd) Validate() error {
	if c.Rate < 0 || math.IsNaN(c.Rate) {
		return errors.New("--rate must not be negative")
	}
	return node.CheckNATS(c.NATS)
}

// publishSummary is what --json prints.
type publishSummary struct {
	publishCount

	Seconds float64 `json:"seconds"`
	// Complete is false if publishing ended before the end of the input.
	Complete bool `json:"complete"`
}

// Run publishes everything and prints a summary.
func (c *publishCmd) Run(ctx context.Context, std terminal.Streams) error {
	total, err := sizeOf(c.Files)
	if err != nil {
		return err
	}
	con := terminal.NewConsole(std.Err, total)
	defer con.Finish()
	conn, err := c.connect(ctx, con)
	if err != nil {
		return err
	}
	start := time.Now()
	l := c.lanes(conn, con)
	err = errors.Join(l.publish(ctx, c.records(std.In, con)), conn.Close())
	con.Finish()
	return errors.Join(err, c.conclude(std, publishSummary{
		publishCount: l.count, Seconds: time.Since(start).Seconds(), Complete: err == nil,
	}))
}

func (c *publishCmd) connect(ctx context.Context, con *terminal.Console) (*stream.Conn, error) {
	return connectNATS(ctx, c.NATS, "poked publish", c.Access, con)
}

func (c *publishCmd) lanes(conn *stream.Conn, con *terminal.Console) *lanes {
	l := &lanes{
		publisher: publish.NewPublisher(conn),
		limit:     rate.NewLimiter(rate.Inf, 0),
		bad:       func(rec record, err error) { con.Printf("%s:%d: %v", rec.file, rec.line, err) },
		seed:      maphash.MakeSeed(),
	}
	if c.Rate > 0 {
		// Bursts of 10 ms, because timers are not exact.
		l.limit = rate.NewLimiter(rate.Limit(c.Rate), max(1, int(c.Rate/100)))
	}
	if c.Historical {
		l.options = []publish.Option{publish.Historical()}
	}
	return l
}

// records yields the records of all files, in order.
func (c *publishCmd) records(stdin io.Reader, con *terminal.Console) iter.Seq2[record, error] {
	return func(yield func(record, error) bool) {
		for _, file := range c.inputs() {
			for rec, err := range readFile(file, stdin) {
				con.Advance(rec.size)
				if !yield(rec, err) {
					return
				}
			}
		}
	}
}

func (c *publishCmd) inputs() []string {
	if len(c.Files) == 0 {
		return []string{stdinName}
	}
	return c.Files
}

// stdinName is the file name that means standard input.
const stdinName = "-"

func readFile(name string, stdin io.Reader) iter.Seq2[record, error] {
	if name == stdinName {
		return readRecords("stdin", stdin)
	}
	return func(yield func(record, error) bool) {
		file, err := os.Open(name)
		if err != nil {
			yield(record{}, fmt.Errorf("open input: %w", err))
			return
		}
		defer func() { _ = file.Close() }() // it was only read
		readRecords(name, file)(yield)
	}
}

// sizeOf returns the total size of the files in bytes, or -1 if it is unknown before they
// are read.
func sizeOf(files []string) (int64, error) {
	total := int64(0)
	if len(files) == 0 {
		total = -1
	}
	for _, name := range files {
		if name == stdinName {
			total = -1
			continue
		}
		info, err := os.Stat(name)
		if err != nil {
			return 0, fmt.Errorf("open input: %w", err)
		}
		if total < 0 || !info.Mode().IsRegular() {
			total = -1
			continue
		}
		total += info.Size()
	}
	return total, nil
}

// conclude prints the summary and fails if a record was bad.
func (c *publishCmd) conclude(std terminal.Streams, s publishSummary) error {
	line := fmt.Sprintf("published %d events and %d receipts in %.1f s", s.Events, s.Receipts, s.Seconds)
	if s.Bad == 0 {
		_, _ = fmt.Fprintln(std.Err, line) // what counts is the exit code
	}
	if c.JSON {
		body, err := json.Marshal(s)
		if err != nil {
			return fmt.Errorf("encode summary: %w", err)
		}
		if _, err := fmt.Fprintf(std.Out, "%s\n", body); err != nil {
			return fmt.Errorf("print summary: %w", err)
		}
	}
	if s.Bad > 0 {
		return fmt.Errorf("%s; bad records: %d", line, s.Bad)
	}
	return nil
}
