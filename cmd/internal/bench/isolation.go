package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"poked/cmd/internal/terminal"
)

// isolationCmd is "pokelab bench isolation": the effect of bad gateways on others, at a
// light load.
//
//	           this process                           another process
//	publisher ─▶ NATS, files ─▶ dispatcher ─▶ gateway 0     hangs in the rounds "hang"
//	                                       ├▶ gateway 1 …   1 % of answers are 500 in the rounds "fail"
//	                                       └▶ gateway N−1
//	bare loop of net/http ────────────────────▶ all of them
//
// The kinds of rounds alternate, so that other load on the machine affects all of them.
type isolationCmd struct {
	Many      manyGateways  `embed:""`
	Rounds    int           `name:"rounds" default:"3" env:"POKED_BENCH_ROUNDS" help:"Rounds of each kind; medians are reported."`
	LightRate int           `name:"light-rate" default:"500" env:"POKED_BENCH_LIGHT_RATE" help:"Pokes per second of the latency measurement."`
	LightFor  time.Duration `name:"light-for" default:"10s" env:"POKED_BENCH_LIGHT_FOR" help:"Duration of each round."`
	Browsers  int           `name:"browsers" default:"50" env:"POKED_BENCH_BROWSERS" help:"Of 100 pushers, how many are browsers (Web Push), whose push service is the gateway."`
	Busy      int           `name:"busy" default:"0" env:"POKED_BENCH_BUSY" help:"Repeat each round beside this many busy processes. 0 skips that."`
	JSON      bool          `name:"json" env:"POKED_JSON" help:"Print the result as a JSON object."`
}

// isolationFanout is how many users, each at another gateway, an event notifies.
const isolationFanout = 10

// Help is shown by kong under the command's summary.
func (isolationCmd) Help() string {
	return "Measures latency from event to poke at healthy gateways, at a light load: while all work, while one hangs, and " +
		"while 1 % of answers are 500. The first gateway, which is the one that hangs, and pushers with a failed poke are not " +
		"counted. Half of the pushers are browsers (--browsers), which the gateways serve as push services. In the same rounds a bare net/http loop posts as many plain pokes to the same gateways at the same rate, as the baseline. " +
		"With --busy all of this also runs beside other busy processes, in every round. Exit code 1 if a poke was lost or arrived twice."
}

// Validate is called by kong.
func (c isolationCmd) Validate() error {
	if c.Rounds < 1 || c.LightRate < isolationFanout || c.LightFor <= 0 || c.Busy < 0 || c.Browsers < 0 || c.Browsers > 100 {
		return fmt.Errorf("--rounds must be at least 1, --light-rate at least %d, --light-for positive, --browsers 0 to 100, and --busy must not be negative", isolationFanout)
	}
	if int(c.LightFor.Seconds()*float64(c.LightRate)) < isolationFanout {
		return errors.New("--light-for must be long enough for an event at --light-rate")
	}
	return c.Many.check()
}

// Run measures and prints a report.
func (c isolationCmd) Run(ctx context.Context, std terminal.Streams) error {
	many, err := c.Many.start(ctx, std)
	if err != nil {
		return err
	}
	defer many.gateways.stop()
	many.browsers = c.Browsers
	r := isolationRun{isolationCmd: c, gatewaysRun: many}
	report, err := r.light(ctx)
	if err != nil {
		return fmt.Errorf("measure latency: %w", err)
	}
	if err := terminal.PrintReport(std.Out, report, c.JSON); err != nil {
		return err
	}
	return report.verdict()
}

// isolationRun is one run of the benchmark.
type isolationRun struct {
	isolationCmd
	*gatewaysRun
}
