package cli

import (
	"cmp"
	"context"
	"errors"
	"time"

	"poked/cmd/internal/operate"
	"poked/cmd/internal/terminal"
	"poked/events"
	"poked/events/stream"
)

// pushersTestCmd is "poked pushers test".
type pushersTestCmd struct {
	Operator operatorFlags `embed:""`
	List     listFlags     `embed:""`
	User     userFlag      `arg:"" placeholder:"USER_ID" help:"User whose pushers are tested, such as @alice:example.org."`
	AppID    appFlag       `name:"app-id" env:"POKED_PUSHERS_APP_ID" placeholder:"APP_ID" help:"Only pushers of this app."`
	Pusher   string        `env:"POKED_PUSHERS_PUSHER" placeholder:"PUSHER" help:"Only the pusher with this digest (PUSHER in the list)."`
}

// Help is shown by kong under the command's summary.
func (pushersTestCmd) Help() string {
	return "The dispatcher that delivers to the user sends each pusher's gateway one poke that is about no event (MSC4173): " +
		"with the limits and the address guard of all others, and without an unread count. It is not repeated, and changes nothing of what waits. " +
		"A pushkey that the gateway rejects is removed. " +
		"ok: the gateway took it. rejected: it rejects the pushkey. rate_limited: it asks for fewer requests, or for none until RETRY AT. " +
		"unreachable: WHY tells the reason, such as dns, tls, timeout, blocked_address, gateway_down or slow (no answer within 6s). " +
		"not_registered: the dispatcher has no such pusher, or it is disabled, or a browser that has not acknowledged it. " +
		"Exit code 0 if all are ok, 2 if no pusher is selected, 1 otherwise or if no dispatcher answers."
}

// errNotOK is the error if a test push was not ok.
var errNotOK = errors.New("not all test pushes were ok")

// Run tests the pushers and prints how that went.
func (c *pushersTestCmd) Run(ctx context.Context, std terminal.Streams) error {
	columns := []terminal.Column{
		{Title: "DEVICE", Least: 12}, {Title: "APP", Under: true, Least: 12}, {Title: "RESULT"}, {Title: "WHY"}, {Title: "STATUS", Under: true},
		{Title: "TOOK"}, {Title: "RETRY AT", Under: true}, {Title: "GATEWAY", Under: true}, {Title: "PUSHER", Under: true},
	}
	now := time.Now()
	p := newPrinter(std, c.Operator.JSON, c.List, "", columns, func(t operate.TestedPusher) []string { return testCells(&t, now) })
	return c.Operator.with(ctx, std, func(conn *stream.Conn) error {
		filter := events.PusherFilter{UserID: events.UserID(c.User), AppID: string(c.AppID), Pusher: events.PusherID(c.Pusher)}
		tested, err := operate.TestPushers(ctx, conn, filter)
		switch {
		case err != nil:
			return err
		case len(tested) == 0:
			return errNoPusher()
		}
		for i := range tested {
			if tested[i].Status != events.TestOK {
				err = errNotOK
			}
			if err := p.print(tested[i]); err != nil {
				return err
			}
		}
		return cmp.Or(p.finish(), err)
	})
}

func testCells(t *operate.TestedPusher, now time.Time) []string {
	took := "-"
	if t.HTTPStatus != 0 {
		took = (time.Duration(t.TookMS) * time.Millisecond).String()
	}
	return []string{
		orDash(t.Device), t.AppID, string(t.Status), orDash(t.Class), countOrDash(t.HTTPStatus), took,
		operate.Relative(t.RetryAt, now), orDash(operate.ShortOrigin(t.Gateway)), string(t.Pusher),
	}
}
