package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"poked/cmd/internal/node"
	"poked/cmd/internal/terminal"
	"poked/dispatcher"
)

// isolationCmd is "pokelab bench isolation": the effect of bad gateways on others.
//
//	           this process                           another process
//	publisher ─▶ NATS, files ─▶ dispatcher ─▶ gateway 0     hangs in the rounds "hang"
//	                                       ├▶ gateway 1 …   1 % of answers are 500 in the rounds "fail"
//	                                       └▶ gateway N−1   all answer 503 in the outage
//
// First come rounds at a light load. The kinds of rounds alternate, so that other load on
// the machine affects all of them. Then comes the outage, in a separate world.
type isolationCmd struct {
	Gateways     int               `name:"gateways" default:"100" env:"POKED_BENCH_GATEWAYS" help:"Number of push gateways, each with its own origin."`
	AnswerAfter  time.Duration     `name:"answer-after" default:"5ms" env:"POKED_BENCH_ANSWER_AFTER" help:"Response time of a gateway."`
	Rounds       int               `name:"rounds" default:"3" env:"POKED_BENCH_ROUNDS" help:"Rounds of each kind; medians are reported. 0 skips them."`
	LightRate    int               `name:"light-rate" default:"500" env:"POKED_BENCH_LIGHT_RATE" help:"Pokes per second of the latency measurement."`
	LightFor     time.Duration     `name:"light-for" default:"10s" env:"POKED_BENCH_LIGHT_FOR" help:"Duration of each round."`
	Lagging      int               `name:"lagging" default:"100000" env:"POKED_BENCH_LAGGING" help:"Pushers in the outage, one per user. 0 skips it."`
	LaggingRooms int               `name:"lagging-rooms" default:"3" enum:"1,3" env:"POKED_BENCH_LAGGING_ROOMS" help:"Rooms of the three notifications that each pusher misses: 3 or 1."`
	Outage       time.Duration     `name:"outage" default:"20s" env:"POKED_BENCH_OUTAGE" help:"Duration of the outage after all pushers lag."`
	Fsync        node.FsyncFlag    `name:"fsync" default:"1s" env:"POKED_FSYNC" help:"How often the embedded NATS syncs to disk: always, or an interval."`
	Profile      string            `name:"profile" placeholder:"FILE" env:"POKED_BENCH_PROFILE" help:"Write a CPU profile of the catch-up."`
	JSON         bool              `name:"json" env:"POKED_JSON" help:"Print the result as a JSON object."`
	Dispatcher   dispatcher.Config `embed:"" group:"Dispatcher:"`
}

// isolationFanout is how many users, each at another gateway, an event of the light load
// notifies; outageFanout is the same for the outage.
const (
	isolationFanout = 10
	outageFanout    = 100
)

// outageEach is how many notifications each pusher misses in the outage.
const outageEach = 3

// Help is shown by kong under the command's summary.
func (isolationCmd) Help() string {
	return "First measures latency from event to poke at healthy gateways, at a light load: while all work, while one hangs, and " +
		"while 1 % of answers are 500. The first gateway, which is the one that hangs, and pushers with a failed poke are not " +
		"counted. Then all gateways fail while every pusher misses three notifications, and all recover at once. " +
		"Memory is that of this process, including NATS; the heap is attributed by allocating code, from the sampled heap profile. " +
		"Exit code 1 if a poke was lost or arrived twice."
}

// Validate is called by kong.
func (c isolationCmd) Validate() error {
	switch {
	case c.Gateways < 2, c.LightRate < isolationFanout, c.LightFor <= 0:
		return fmt.Errorf("--gateways must be at least 2, --light-rate at least %d, --light-for positive", isolationFanout)
	case c.Rounds < 0, c.Lagging < 0, c.Outage < 0, c.AnswerAfter < 0:
		return errors.New("--rounds, --lagging, --outage and --answer-after must not be negative")
	case c.Lagging%outageFanout != 0:
		return fmt.Errorf("--lagging must be a multiple of %d: so many share a room", outageFanout)
	}
	return c.Dispatcher.Validate()
}

// Run measures and prints a report.
func (c isolationCmd) Run(ctx context.Context, std terminal.Streams) error {
	runtime.MemProfileRate = heapSampling
	gateways, err := startGateways(ctx, c.Gateways, c.AnswerAfter)
	if err != nil {
		return err
	}
	defer gateways.stop()
	r := isolationRun{
		isolationCmd: c, gateways: gateways,
		log:      slog.New(slog.NewTextHandler(std.Err, &slog.HandlerOptions{Level: slog.LevelWarn})),
		progress: progressTo(std),
	}
	var report isolationReport
	if c.Rounds > 0 {
		if report.Light, err = r.light(ctx); err != nil {
			return fmt.Errorf("measure latency: %w", err)
		}
	}
	if c.Lagging > 0 {
		if report.Outage, err = r.outage(ctx); err != nil {
			return fmt.Errorf("measure outage: %w", err)
		}
	}
	if err := terminal.PrintReport(std.Out, report, c.JSON); err != nil {
		return err
	}
	return report.verdict()
}

// isolationRun is one run of the benchmark.
type isolationRun struct {
	isolationCmd

	gateways *gatewaysProcess
	log      *slog.Logger
	progress func(format string, args ...any)
}

// world creates a world whose users are spread over all gateways.
func (r *isolationRun) world(ctx context.Context, groups, fanout, roomsEach int) (*world, error) {
	r.progress("%d users in %d rooms of %d, at %d gateways", groups*fanout, groups*roomsEach, fanout, r.Gateways)
	return newWorld(ctx, worldOptions{
		groups: groups, fanout: fanout, roomsEach: roomsEach, gateways: r.gateways.urls,
		dispatcher: r.Dispatcher, fsync: r.Fsync,
	}, r.log)
}
