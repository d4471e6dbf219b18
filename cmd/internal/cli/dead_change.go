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
	return "A poke that expired becomes a new notification for its pusher alone; a message that could not be read is published " +
		"once more. Only when that is stored does the letter go: an interrupted run may poke twice, and loses nothing. " +
		"A letter stays whose message was cut, whose pusher is gone, or whose room has a newer state; it is named on " +
		"standard error, and the exit code is then 1."
}

// Run has the letters tried again.
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
func (deadDropCmd) Help() string { return "What was dropped is gone for good." }

// Run deletes the letters.
func (c *deadDropCmd) Run(ctx context.Context, std terminal.Streams) error {
	return c.Change.run(ctx, std, deadWork{
		doing: "dropping", done: "dropped",
		check: func(*stream.Conn, context.Context, stream.StoredDeadLetter) error { return nil },
		do:    (*stream.Conn).DropDead,
	})
}

// deadWork is what is done to each of many dead letters.
type deadWork struct {
	doing, done string
	check       func(*stream.Conn, context.Context, stream.StoredDeadLetter) error // changes nothing
	do          func(*stream.Conn, context.Context, uint64) error
}

// deadChange is what retry and drop have in common.
type deadChange struct {
	Operator operatorFlags `embed:""`
	Dead     deadFlags     `embed:""`
	Limit    int           `default:"0" env:"POKED_DEAD_LIMIT" placeholder:"N" help:"At most so many, the oldest first; 0 is all."`
	Rate     float64       `default:"0" env:"POKED_DEAD_RATE" placeholder:"N" help:"At most so many a second; 0 is as fast as NATS takes them."`
	DryRun   bool          `name:"dry-run" env:"POKED_DEAD_DRY_RUN" help:"Only say what would be done."`
	Yes      bool          `env:"POKED_DEAD_YES" help:"Do it to every dead letter, where no other flag says which."`
}

// Validate is called by kong.
func (c *deadChange) Validate() error {
	if c.Rate < 0 || math.IsNaN(c.Rate) {
		return errors.New("--rate must not be negative")
	}
	if filter := c.Dead.filter(); !filter.Narrows() && !c.Yes && !c.DryRun {
		return errors.New("this is for every dead letter: say which, or --yes, or --dry-run to see what there is")
	}
	return checkLimit(c.Limit)
}

// deadSummary is what --json prints.
type deadSummary struct {
	Found   int  `json:"found"`   // letters that are meant
	Done    int  `json:"done"`    // retried or dropped, or would be
	Refused int  `json:"refused"` // cannot be tried again, and stay
	Gone    int  `json:"gone"`    // somebody else dealt with them meanwhile
	DryRun  bool `json:"dry_run"`
	// Complete is false if the work ended before all were dealt with.
	Complete bool `json:"complete"`
}

// run finds the letters first and then does its work, so that a letter which
// dies again is not found a second time.
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

// find returns the letters that are meant. A dry run checks them too.
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

// do works on one letter after the other.
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

// count counts what became of one letter. It returns errors that are not this
// letter's alone.
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

// conclude prints the summary and fails if a letter was refused.
func (c *deadChange) conclude(std terminal.Streams, work deadWork, s deadSummary) error {
	verb := work.done
	if s.DryRun {
		verb = "would be " + verb
	}
	line := fmt.Sprintf("of %d dead letters %d %s", s.Found, s.Done, verb)
	if s.Gone > 0 {
		line += fmt.Sprintf(", %d were gone already", s.Gone)
	}
	if s.Refused == 0 {
		_, _ = fmt.Fprintln(std.Err, line) // what counts is the exit code
	}
	if c.Operator.JSON {
		if err := terminal.PrintJSON(std.Out, s); err != nil {
			return err
		}
	}
	if s.Refused > 0 {
		return fmt.Errorf("%s, %d cannot be tried again and stay", line, s.Refused)
	}
	return nil
}
