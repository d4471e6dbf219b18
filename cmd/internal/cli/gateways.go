package cli

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"time"

	"poked/cmd/internal/operate"
	"poked/cmd/internal/terminal"
	"poked/events"
	"poked/events/operator"
	"poked/events/stream"
)

// gatewaysCmd is "poked gateways".
type gatewaysCmd struct {
	Operator operatorFlags `embed:""`
	List     listFlags     `embed:""`
}

// Help is shown by kong under the command's summary.
func (gatewaysCmd) Help() string {
	return "Asks all running dispatchers. Only gateways with current activity are shown, one row per gateway and dispatcher; " +
		"the dispatcher is the worker id of its log lines. States are those of a circuit breaker. closed: works normally. " +
		"open: down, waiting for the next probe. probing: a probe is in flight. recovering: works again, the rate is growing. " +
		"paused: asked to wait (Retry-After). capacity: it works, and pokes are late because the dispatcher, or its NATS, is at its limit. " +
		"--json has max_body, too: the payload limit in bytes, if it is configured (--payload-limit) or was learned from an answer 413. Exit code 1 if no dispatcher answers."
}

// Run prints the gateways.
func (c *gatewaysCmd) Run(ctx context.Context, std terminal.Streams) error {
	columns := []terminal.Column{
		{Title: "GATEWAY"}, {Title: "DISPATCHER", Under: true, Least: 10},
		{Title: "STATE"}, {Title: "UNTIL", Under: true},
		{Title: "IN FLIGHT"}, {Title: "LATENCY", Under: true},
		{Title: "WAITING"}, {Title: "LAGGING", Under: true},
		{Title: "LAST ERROR"}, {Title: "ERRORS", Under: true},
	}
	now := time.Now()
	p := newPrinter(std, c.Operator.JSON, c.List, "no gateway is in use", columns, func(g events.GatewayState) []string { return gatewayCells(&g, now) })
	return c.Operator.with(ctx, std, func(conn *stream.Conn) error {
		for gateway, err := range operator.NewClient(conn).Gateways(ctx) {
			if err := cmp.Or(err, p.print(gateway)); err != nil {
				return err
			}
		}
		return p.finish()
	})
}

func gatewayCells(g *events.GatewayState, now time.Time) []string {
	until := g.PausedUntil
	if until.IsZero() {
		until = g.NextProbe
	}
	return []string{
		operate.ShortOrigin(g.Origin), g.Worker, string(g.State), operate.Relative(until, now), fmt.Sprintf("%d of %d", g.InFlight, g.Limit), fmt.Sprintf("%.0f ms", g.LatencyMS),
		strconv.Itoa(g.Waiting), strconv.Itoa(g.Lagging), orDash(g.LastError), fmt.Sprintf("%.0f %%", 100*g.ErrorRate),
	}
}
