package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"

	"golang.org/x/time/rate"

	"poked/cmd/internal/terminal"
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
	return c.Change.run(ctx, std, deadWork{
		doing: "retrying", done: "retried",
		check: (*stream.Conn).CanRetryDead, do: (*stream.Conn).RetryDead,
	})
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
	return c.Change.run(ctx, std, deadWork{
		doing: "dropping", done: "dropped",
		check: func(*stream.Conn, context.Context, stream.StoredDeadLetter) error { return nil },
		do:    (*stream.Conn).DropDead,
	})
}

// deadWork is an operation on each selected dead letter.
type deadWork struct {
	doing, done string
	check       func(*stream.Conn, context.Context, stream.StoredDeadLetter) error // changes nothing
	do          func(*stream.Conn, context.Context, uint64) error
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

// deadSummary is what --json prints.
type deadSummary struct {
	Found   int  `json:"found"`   // letters selected
	Done    int  `json:"done"`    // retried or dropped, or would be in a dry run
	Refused int  `json:"refused"` // cannot be retried, and stay
	Gone    int  `json:"gone"`    // retried or dropped by somebody else meanwhile
	DryRun  bool `json:"dry_run"`
	// Complete is false if the run ended before it reached all of them.
	Complete bool `json:"complete"`
}

// run selects the dead letters first and then works on them, so that a retried message
// that becomes a dead letter again is not selected a second time.
func (c *deadChange) run(ctx context.Context, std terminal.Streams, work deadWork) error {
	return c.Operator.with(ctx, std, func(conn *stream.Conn) error {
		if err := conn.Join(ctx); err != nil {
			return err
		}
		summary := deadSummary{DryRun: c.DryRun}
		seqs, err := c.find(ctx, conn, std.Err, work, &summary)
		if err == nil && !c.DryRun {
			err = c.do(ctx, conn, std.Err, work, seqs, &summary)
		}
		summary.Complete = err == nil
		return errors.Join(err, c.conclude(std, work, summary))
	})
}

// find returns the sequences of the selected dead letters. A dry run also checks each one.
func (c *deadChange) find(ctx context.Context, conn *stream.Conn, stderr io.Writer, work deadWork, summary *deadSummary) ([]uint64, error) {
	var seqs []uint64
	con := terminal.NewCountConsole(stderr, work.doing, 0)
	for letter, err := range conn.DeadLetters(ctx, c.Dead.filter()) {
		if err != nil {
			return nil, err
		}
		seqs = append(seqs, letter.Seq)
		summary.Found++
		if c.DryRun {
			if err := summary.count(work.check(conn, ctx, letter), con); err != nil {
				return nil, err
			}
		}
		if summary.Found == c.Limit {
			break
		}
	}
	return seqs, nil
}

// do works on the dead letters one by one.
func (c *deadChange) do(ctx context.Context, conn *stream.Conn, stderr io.Writer, work deadWork, seqs []uint64, summary *deadSummary) error {
	con := terminal.NewCountConsole(stderr, work.doing, len(seqs))
	defer con.Finish()
	limit := rate.NewLimiter(rate.Inf, 0)
	if c.Rate > 0 {
		limit = rate.NewLimiter(rate.Limit(c.Rate), 1)
	}
	for _, seq := range seqs {
		if err := limit.Wait(ctx); err != nil {
			return fmt.Errorf("interrupted: %w", err)
		}
		if err := summary.count(work.do(conn, ctx, seq), con); err != nil {
			return err
		}
		con.Advance(1)
	}
	return nil
}

// count counts the outcome for one dead letter. It returns only errors that concern more
// than this one.
func (s *deadSummary) count(err error, con *terminal.Console) error {
	switch {
	case err == nil:
		s.Done++
	case errors.Is(err, stream.ErrNoDeadLetter):
		s.Gone++
	case errors.Is(err, stream.ErrNotRetriable):
		s.Refused++
		con.Printf("%v", err)
	default:
		return err
	}
	return nil
}

// conclude prints the summary and fails if a dead letter was refused.
func (c *deadChange) conclude(std terminal.Streams, work deadWork, s deadSummary) error {
	verb := work.done
	if s.DryRun {
		verb = "would be " + verb
	}
	line := fmt.Sprintf("of %d dead letters %d %s", s.Found, s.Done, verb)
	if s.Gone > 0 {
		line += fmt.Sprintf(", %d were gone already", s.Gone)
	}
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
		return fmt.Errorf("%s, %d cannot be tried again and stay", line, s.Refused)
	}
	return nil
}
