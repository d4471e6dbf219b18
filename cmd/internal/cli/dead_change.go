package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"

	"golang.org/x/time/rate"

	"poked/cmd/internal/operate"
	"poked/cmd/internal/terminal"
	"poked/events/operator"
	"poked/events/stream"
)

// deadRetryCmd is "poked dead retry".
type deadRetryCmd struct {
	Change deadChange `embed:""`
}

// Help is shown by kong under the command's summary.
func (deadRetryCmd) Help() string {
	return "A poke becomes a new notification for its pusher only. A message that could not be read is published again. " +
		"The dead letter is deleted once that is stored, so an interrupted run loses nothing but may poke twice. " +
		"A dead letter stays if its message was truncated, its pusher no longer exists, or its room has newer state. " +
		"Each of these is reported on standard error, and the exit code is 1. It is 2 if the flags select no dead letter."
}

// Run retries the dead letters.
func (c *deadRetryCmd) Run(ctx context.Context, std terminal.Streams) error {
	return c.Change.run(ctx, std, operate.RetryDead())
}

// deadDropCmd is "poked dead drop".
type deadDropCmd struct {
	Change deadChange `embed:""`
}

// Help is shown by kong under the command's summary.
func (deadDropCmd) Help() string {
	return "Dropped dead letters cannot be restored. Exit code 2 if the flags select no dead letter."
}

// Run deletes the dead letters.
func (c *deadDropCmd) Run(ctx context.Context, std terminal.Streams) error {
	return c.Change.run(ctx, std, operate.DropDead())
}

// deadChange holds the flags and the loop that retry and drop share.
type deadChange struct {
	Operator operatorFlags `embed:""`
	Dead     deadFlags     `embed:""`
	Limit    int           `default:"0" env:"POKED_DEAD_LIMIT" placeholder:"N" help:"Maximum number of dead letters, oldest first; 0 means all."`
	Rate     float64       `default:"0" env:"POKED_DEAD_RATE" placeholder:"N" help:"Maximum number per second; 0 means unlimited."`
	DryRun   bool          `name:"dry-run" env:"POKED_DEAD_DRY_RUN" help:"Only show what would be done."`
	Yes      bool          `env:"POKED_DEAD_YES" help:"Confirm that all dead letters are meant, if no other flag selects some."`
}

// Validate is called by kong.
func (c *deadChange) Validate() error {
	if c.Rate < 0 || math.IsNaN(c.Rate) {
		return errors.New("--rate must not be negative")
	}
	if filter := c.Dead.filter(); !filter.Narrows() && !c.Yes && !c.DryRun {
		return errors.New("this selects every dead letter: add a filter, --yes to confirm, or --dry-run to see what would be done")
	}
	return checkLimit(c.Limit)
}

// run selects the dead letters first and then works on them, so that a retried message
// that becomes a dead letter again is not selected a second time.
func (c *deadChange) run(ctx context.Context, std terminal.Streams, work operate.DeadWork) error {
	return c.Operator.with(ctx, std, func(conn *stream.Conn) error {
		if err := conn.Join(ctx); err != nil {
			return err
		}
		summary := operate.DeadSummary{DryRun: c.DryRun}
		client := operator.NewClient(conn)
		seqs, err := c.find(ctx, client, std.Err, work, &summary)
		if err == nil && !c.DryRun {
			err = c.do(ctx, client, std.Err, work, seqs, &summary)
		}
		summary.Complete = err == nil
		return errors.Join(err, c.conclude(std, work, summary))
	})
}

// find returns the sequences of the selected dead letters. A dry run also checks each one.
func (c *deadChange) find(ctx context.Context, client *operator.Client, stderr io.Writer, work operate.DeadWork, summary *operate.DeadSummary) ([]uint64, error) {
	con := terminal.NewCountConsole(stderr, work.Doing, 0)
	return operate.FindDead(ctx, client, c.Dead.filter(), c.Limit, func(letter operator.StoredDeadLetter) error {
		summary.Found++
		if !c.DryRun {
			return nil
		}
		refused := work.Check(client, ctx, letter)
		if err := summary.Count(refused); err != nil {
			return err
		}
		report(con, refused)
		return nil
	})
}

// do works on the dead letters one by one.
func (c *deadChange) do(ctx context.Context, client *operator.Client, stderr io.Writer, work operate.DeadWork, seqs []uint64, summary *operate.DeadSummary) error {
	con := terminal.NewCountConsole(stderr, work.Doing, len(seqs))
	defer con.Finish()
	limit := rate.NewLimiter(rate.Inf, 0)
	if c.Rate > 0 {
		limit = rate.NewLimiter(rate.Limit(c.Rate), 1)
	}
	return work.Run(ctx, client, seqs, limit, summary, func(refused error) {
		report(con, refused)
		con.Advance(1)
	})
}

// report prints why a dead letter cannot be retried.
func report(con *terminal.Console, refused error) {
	if errors.Is(refused, operator.ErrNotRetriable) {
		con.Printf("%v", refused)
	}
}

// conclude prints the summary and fails if a dead letter was refused.
func (c *deadChange) conclude(std terminal.Streams, work operate.DeadWork, s operate.DeadSummary) error {
	line := s.Text(work)
	filter := c.Dead.filter()
	missed := s.Found == 0 && s.Complete && filter.Narrows()
	if s.Refused == 0 && !missed {
		_, _ = fmt.Fprintln(std.Err, line) // what counts is the exit code
	}
	if c.Operator.JSON {
		if err := terminal.PrintJSON(std.Out, s); err != nil {
			return err
		}
	}
	if missed {
		return badInputError{1, errors.New("no dead letter matches; poked dead list lists them")}
	}
	if s.Refused > 0 {
		return errors.New(line)
	}
	return nil
}
