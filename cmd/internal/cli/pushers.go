package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"poked/cmd/internal/terminal"
	"poked/events"
	"poked/events/stream"
)

// pushersCmd is "poked pushers".
type pushersCmd struct {
	List    pushersListCmd    `cmd:"" default:"withargs" help:"List pushers with their state and backlog (the default)."`
	Retry   pushersRetryCmd   `cmd:"" help:"Retry lagging pushers now."`
	Skip    pushersSkipCmd    `cmd:"" help:"Put aside the poke that lagging pushers are stuck at."`
	Removed pushersRemovedCmd `cmd:"" help:"List removed pushers with the reason."`
}

// pusherFlags select pushers.
type pusherFlags struct {
	User    events.UserID `env:"POKED_PUSHERS_USER" placeholder:"USER_ID" help:"Only pushers of this user."`
	AppID   string        `name:"app-id" env:"POKED_PUSHERS_APP_ID" placeholder:"APP_ID" help:"Only pushers of this app."`
	Gateway string        `env:"POKED_PUSHERS_GATEWAY" placeholder:"ORIGIN" help:"Only pushers at this gateway: its scheme, host and port, as poked gateways shows them."`
}

func (f pusherFlags) filter(state events.PusherPhase) events.PusherFilter {
	return events.PusherFilter{UserID: f.User, AppID: f.AppID, Gateway: f.Gateway, State: state}
}

// pushersListCmd is "poked pushers list".
type pushersListCmd struct {
	Operator operatorFlags      `embed:""`
	Pushers  pusherFlags        `embed:""`
	State    events.PusherPhase `env:"POKED_PUSHERS_STATE" placeholder:"STATE" help:"Only pushers in this state: idle, busy, lagging or refused."`
}

// Help is shown by kong under the command's summary.
func (pushersListCmd) Help() string {
	return "Asks all running dispatchers. A pusher that had no notification since its dispatcher started is listed only with --user. " +
		"A pusher is shown as a digest, never as its pushkey. idle: everything is delivered. busy: a poke is in flight. " +
		"lagging: delivery failed and is retried with backoff. refused: the gateway rejected the pushkey. " +
		"≤ marks an upper bound that is not counted exactly yet. Exit code 1 if no dispatcher answers."
}

// Validate is called by kong.
func (c *pushersListCmd) Validate() error {
	if c.State == "" || slices.Contains(events.PusherPhases(), c.State) {
		return nil
	}
	return errors.New("--state must be idle, busy, lagging or refused")
}

// Run prints the pushers.
func (c *pushersListCmd) Run(ctx context.Context, std terminal.Streams) error {
	head := []string{"USER", "APP", "PUSHER", "STATE", "WAITING", "ATTEMPTS", "SINCE", "NEXT TRY", "LAST ERROR", "LAST SUCCESS", "GATEWAY"}
	now := time.Now()
	p := newPrinter(std, c.Operator.JSON, head, func(s events.PusherState) []string { return pusherCells(&s, now) })
	return c.Operator.with(ctx, std, func(conn *stream.Conn) error {
		for state, err := range conn.Pushers(ctx, c.Pushers.filter(c.State)) {
			if err := cmp.Or(err, p.print(state)); err != nil {
				return err
			}
		}
		return p.finish()
	})
}

func pusherCells(s *events.PusherState, now time.Time) []string {
	waiting := strconv.FormatUint(s.Waiting, 10)
	if s.Estimated {
		waiting = "≤" + waiting
	}
	if s.PassedOver > 0 {
		waiting += fmt.Sprintf(" (passed over %d)", s.PassedOver)
	}
	failure := orDash(s.LastError)
	if !s.LastErrorAt.IsZero() {
		failure += ", " + relative(s.LastErrorAt, now)
	}
	return []string{
		string(s.UserID), s.AppID, string(s.Pusher), string(s.State), waiting, strconv.Itoa(s.Attempts),
		relative(s.Since, now), relative(s.NextTry, now), failure, relative(s.LastSuccess, now), s.Gateway,
	}
}

// pushersRetryCmd is "poked pushers retry".
type pushersRetryCmd struct {
	Operator operatorFlags `embed:""`
	Pushers  pusherFlags   `embed:""`
}

// Help is shown by kong under the command's summary.
func (pushersRetryCmd) Help() string {
	return "Lagging pushers are retried now instead of after their backoff: all of them, or those that the flags select. " +
		"A pause that a gateway asked for (Retry-After) is still honoured. Exit code 1 if no dispatcher answers."
}

// Run retries the pushers and prints how many there are.
func (c *pushersRetryCmd) Run(ctx context.Context, std terminal.Streams) error {
	return c.Operator.with(ctx, std, func(conn *stream.Conn) error {
		n, err := conn.RetryPushers(ctx, c.Pushers.filter(""))
		if err != nil {
			return err
		}
		if c.Operator.JSON {
			return terminal.PrintJSON(std.Out, map[string]int{"pushers": n})
		}
		_, err = fmt.Fprintf(std.Out, "lagging pushers that are tried now: %d\n", n)
		return err
	})
}

// pushersSkipCmd is "poked pushers skip".
type pushersSkipCmd struct {
	Operator operatorFlags `embed:""`
	Pushers  pusherFlags   `embed:""`
	Yes      bool          `env:"POKED_PUSHERS_YES" help:"Confirm that all lagging pushers are meant, if no other flag selects some."`
}

// Help is shown by kong under the command's summary.
func (pushersSkipCmd) Help() string {
	return "The oldest poke that waits for a lagging pusher becomes a dead letter with reason skipped, and the next one is tried. " +
		"poked dead list --reason skipped lists these, and poked dead retry sends them after all. " +
		"Exit code 2 if no pusher is selected or no poke waits, 1 if no dispatcher answers."
}

// Validate is called by kong.
func (c *pushersSkipCmd) Validate() error {
	if !c.Pushers.filter("").Narrows() && !c.Yes {
		return errors.New("this selects every lagging pusher: add a filter, or --yes to confirm")
	}
	return nil
}

// Run skips the pokes and prints how many there are.
func (c *pushersSkipCmd) Run(ctx context.Context, std terminal.Streams) error {
	return c.Operator.with(ctx, std, func(conn *stream.Conn) error {
		n, err := conn.SkipPushers(ctx, c.Pushers.filter(""))
		switch {
		case err != nil:
			return err
		case n.Pushers == 0:
			return badInputError{1, errors.New("no dispatcher has such a pusher")}
		case n.Skipped == 0:
			return badInputError{1, errors.New("nothing is skipped: no poke waits, or it is in flight now")}
		case c.Operator.JSON:
			return terminal.PrintJSON(std.Out, n)
		}
		_, err = fmt.Fprintf(std.Out, "pokes that are dead letters now: %d\n", n.Skipped)
		return err
	})
}
