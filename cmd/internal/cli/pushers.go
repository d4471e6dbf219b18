package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"poked/cmd/internal/operate"
	"poked/cmd/internal/terminal"
	"poked/events"
	"poked/events/operator"
	"poked/events/stream"
)

// pushersCmd is "poked pushers".
type pushersCmd struct {
	List    pushersListCmd    `cmd:"" default:"withargs" help:"List pushers with their state and backlog (the default)."`
	Retry   pushersRetryCmd   `cmd:"" help:"Retry lagging pushers now."`
	Skip    pushersSkipCmd    `cmd:"" help:"Put aside the poke that lagging pushers are stuck at."`
	Test    pushersTestCmd    `cmd:"" help:"Send a test push to the pushers of a user."`
	Removed pushersRemovedCmd `cmd:"" help:"List removed pushers with the reason."`
}

// pusherFlags select pushers.
type pusherFlags struct {
	User    userFlag   `env:"POKED_PUSHERS_USER" placeholder:"USER_ID" help:"Only pushers of this user."`
	AppID   appFlag    `name:"app-id" env:"POKED_PUSHERS_APP_ID" placeholder:"APP_ID" help:"Only pushers of this app."`
	Pusher  string     `env:"POKED_PUSHERS_PUSHER" placeholder:"PUSHER" help:"Only the pusher with this digest (PUSHER in the list)."`
	Gateway originFlag `env:"POKED_PUSHERS_GATEWAY" placeholder:"URL" help:"Only pushers at this gateway, such as https://push.example.org; of a pusher's URL scheme, host and port count. refused: those at a gateway that is not allowed."`
}

func (f pusherFlags) filter(state events.PusherPhase) events.PusherFilter {
	return events.PusherFilter{UserID: events.UserID(f.User), AppID: string(f.AppID), Gateway: string(f.Gateway), Pusher: events.PusherID(f.Pusher), State: state}
}

// pushersListCmd is "poked pushers list".
type pushersListCmd struct {
	Operator operatorFlags      `embed:""`
	List     listFlags          `embed:""`
	Pushers  pusherFlags        `embed:""`
	State    events.PusherPhase `env:"POKED_PUSHERS_STATE" placeholder:"STATE" help:"Only pushers in this state: idle, busy, lagging or refused."`
	History  bool               `env:"POKED_PUSHERS_HISTORY" help:"Also tell the last success and the last error from before their dispatcher started, as far as --trace-for goes back. With --user that is always told."`
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
	columns := []terminal.Column{
		{Title: "USER", Least: 12}, {Title: "DEVICE", Under: true, Least: 12}, {Title: "APP", Under: true, Least: 12},
		{Title: "STATE"}, {Title: "WAITING", Under: true}, {Title: "ATTEMPTS", Under: true},
		{Title: "NEXT TRY"}, {Title: "SINCE", Under: true},
		{Title: "LAST ERROR"}, {Title: "AT", Under: true}, {Title: "PASSED OVER", Under: true},
		{Title: "LAST SUCCESS"}, {Title: "GATEWAY", Under: true}, {Title: "PUSHER", Under: true},
	}
	now := time.Now()
	nothing := "no pusher matches" + c.unseen()
	p := newPrinter(std, c.Operator.JSON, c.List, nothing, columns, func(s operate.Pusher) []string { return pusherCells(&s, now) })
	return c.Operator.with(ctx, std, func(conn *stream.Conn) error {
		history := c.History || c.Pushers.User != ""
		for state, err := range operate.Pushers(ctx, conn, c.Pushers.filter(c.State), history, warnMissing(std.Err)) {
			if err := cmp.Or(err, p.print(state)); err != nil {
				return err
			}
		}
		return p.finish()
	})
}

// unseen explains an empty list of pushers.
func (c *pushersListCmd) unseen() string {
	if c.Pushers.User != "" {
		return ""
	}
	return ": without --user a pusher is listed from its first notification since its dispatcher started"
}

func pusherCells(s *operate.Pusher, now time.Time) []string {
	waiting := strconv.FormatUint(s.Waiting, 10)
	if s.Estimated {
		waiting = "≤" + waiting
	}
	return []string{
		string(s.UserID), orDash(s.Device), s.AppID, string(s.State), waiting, countOrDash(s.Attempts),
		operate.Relative(s.NextTry, now), operate.Relative(s.Since, now), orDash(s.LastError), operate.Relative(s.LastErrorAt, now), countOrDash(s.PassedOver),
		operate.Relative(s.LastSuccess, now), operate.ShortOrigin(s.Gateway), string(s.Pusher),
	}
}

// errNoPusher is the error for flags that select no pusher.
func errNoPusher() error {
	return badInputError{1, errors.New("no pusher matches; poked pushers lists them")}
}

// pushersRetryCmd is "poked pushers retry".
type pushersRetryCmd struct {
	Operator operatorFlags `embed:""`
	Pushers  pusherFlags   `embed:""`
}

// Help is shown by kong under the command's summary.
func (pushersRetryCmd) Help() string {
	return "Lagging pushers are retried now instead of after their backoff: all of them, or those that the flags select. " +
		"A pause that a gateway asked for (Retry-After) is still honoured. " +
		"Exit code 2 if the flags select no pusher, 1 if no dispatcher answers."
}

// Run retries the pushers and prints how many there are.
func (c *pushersRetryCmd) Run(ctx context.Context, std terminal.Streams) error {
	return c.Operator.with(ctx, std, func(conn *stream.Conn) error {
		filter := c.Pushers.filter("")
		n, err := operator.NewClient(conn).RetryPushers(ctx, filter)
		switch {
		case err != nil:
			return err
		case n.Pushers == 0 && filter.Narrows():
			return errNoPusher()
		case c.Operator.JSON:
			return terminal.PrintJSON(std.Out, n)
		}
		_, err = fmt.Fprintf(std.Out, "pushers that match: %d, lagging and tried now: %d\n", n.Pushers, n.Retried)
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
		n, err := operator.NewClient(conn).SkipPushers(ctx, c.Pushers.filter(""))
		switch {
		case err != nil:
			return err
		case n.Pushers == 0:
			return errNoPusher()
		case n.Skipped == 0:
			return badInputError{1, errors.New("nothing is skipped: no poke waits, or it is in flight now")}
		case c.Operator.JSON:
			return terminal.PrintJSON(std.Out, n)
		}
		_, err = fmt.Fprintf(std.Out, "pokes that are dead letters now: %d\n", n.Skipped)
		return err
	})
}
