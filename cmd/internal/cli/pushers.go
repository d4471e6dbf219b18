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
	List    pushersListCmd    `cmd:"" default:"withargs" help:"Say what dispatchers know of pushers. This is what poked pushers does without a word after it."`
	Retry   pushersRetryCmd   `cmd:"" help:"Have pushers that lag tried now."`
	Removed pushersRemovedCmd `cmd:"" help:"Say which pushers went, and why."`
}

// pusherFlags say which pushers are meant.
type pusherFlags struct {
	User    events.UserID `env:"POKED_PUSHERS_USER" placeholder:"USER_ID" help:"Only this user's."`
	AppID   string        `name:"app-id" env:"POKED_PUSHERS_APP_ID" placeholder:"APP_ID" help:"Only those of this app."`
	Gateway string        `env:"POKED_PUSHERS_GATEWAY" placeholder:"ORIGIN" help:"Only those at this gateway: its scheme, host and port, as poked gateways prints them."`
}

func (f pusherFlags) filter(state events.PusherPhase) events.PusherFilter {
	return events.PusherFilter{UserID: f.User, AppID: f.AppID, Gateway: f.Gateway, State: state}
}

// pushersListCmd is "poked pushers list".
type pushersListCmd struct {
	Operator operatorFlags      `embed:""`
	Pushers  pusherFlags        `embed:""`
	State    events.PusherPhase `env:"POKED_PUSHERS_STATE" placeholder:"STATE" help:"Only those in this state: idle, busy, lagging or refused."`
}

// Help is shown by kong under the command's summary.
func (pushersListCmd) Help() string {
	return "Every dispatcher that works is asked. A pusher that has had nothing to be told since its dispatcher began comes only " +
		"with --user. A pusher is named by a digest, never by its pushkey. idle: was told all. busy: something is on its way. " +
		"lagging: could not be told at once, and is tried again. refused: its gateway refused the pushkey. " +
		"≤ before a number says that nobody has counted yet. Exit code 1 if no dispatcher answers."
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
	return "Pushers that lag are tried now instead of at their next try, all of them unless a flag says which. A gateway that has " +
		"asked to be left alone (Retry-After) is left alone. Exit code 1 if no dispatcher answers."
}

// Run has the pushers tried, and prints how many they are.
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
