package cli

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"time"

	"poked/cmd/internal/terminal"
	"poked/events"
	"poked/events/stream"
)

// gatewaysCmd is "poked gateways".
type gatewaysCmd struct {
	Operator operatorFlags `embed:""`
}

// Help is shown by kong under the command's summary.
func (gatewaysCmd) Help() string {
	return "Asks all running dispatchers. Only gateways with current activity are shown, one row per gateway and dispatcher; " +
		"the dispatcher is the worker id of its log lines. States are those of a circuit breaker. closed: works normally. " +
		"open: down, waiting for the next probe. probing: a probe is in flight. recovering: works again, the rate is growing. " +
		"paused: asked to wait (Retry-After). Exit code 1 if no dispatcher answers."
}

// Run prints the gateways.
func (c *gatewaysCmd) Run(ctx context.Context, std terminal.Streams) error {
	head := []string{"GATEWAY", "STATE", "IN FLIGHT", "WAITING", "LAGGING", "LATENCY", "ERRORS", "UNTIL", "LAST ERROR", "DISPATCHER"}
	now := time.Now()
	p := newPrinter(std, c.Operator.JSON, head, func(g events.GatewayState) []string { return gatewayCells(&g, now) })
	return c.Operator.with(ctx, std, func(conn *stream.Conn) error {
		for gateway, err := range conn.Gateways(ctx) {
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
		g.Origin, string(g.State), fmt.Sprintf("%d of %d", g.InFlight, g.Limit), strconv.Itoa(g.Waiting), strconv.Itoa(g.Lagging),
		fmt.Sprintf("%.0f ms", g.LatencyMS), fmt.Sprintf("%.0f %%", 100*g.ErrorRate), relative(until, now), orDash(g.LastError), g.Worker,
	}
}
