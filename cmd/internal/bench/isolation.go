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

// isolationCmd is "pokelab bench isolation": what bad gateways do to others.
//
//	           this process                           another process
//	publisher ─▶ NATS, files ─▶ dispatcher ─▶ gateway 0     hangs in the rounds "hang"
//	                                       ├▶ gateway 1 …   one answer of 100 is 500 in the rounds "fail"
//	                                       └▶ gateway N−1   all answer 503 in the outage
//
// First come rounds of a light load, in turns, so that what else the machine
// does falls on all kinds of them; then, in a world of its own, the outage.
type isolationCmd struct {
	Gateways     int               `name:"gateways" default:"100" env:"POKED_BENCH_GATEWAYS" help:"Push gateways, each an origin of its own."`
	AnswerAfter  time.Duration     `name:"answer-after" default:"5ms" env:"POKED_BENCH_ANSWER_AFTER" help:"How long a gateway takes to answer."`
	Rounds       int               `name:"rounds" default:"3" env:"POKED_BENCH_ROUNDS" help:"Rounds of each kind; the medians are reported. 0 leaves them out."`
	LightRate    int               `name:"light-rate" default:"500" env:"POKED_BENCH_LIGHT_RATE" help:"Pokes a second while latency is measured."`
	LightFor     time.Duration     `name:"light-for" default:"10s" env:"POKED_BENCH_LIGHT_FOR" help:"How long each round is."`
	Lagging      int               `name:"lagging" default:"100000" env:"POKED_BENCH_LAGGING" help:"Pushers in the outage, one user each. 0 leaves it out."`
	LaggingRooms int               `name:"lagging-rooms" default:"3" enum:"1,3" env:"POKED_BENCH_LAGGING_ROOMS" help:"Rooms of which the three notifications come that each of them has to catch up with: 3 or 1."`
	Outage       time.Duration     `name:"outage" default:"20s" env:"POKED_BENCH_OUTAGE" help:"How long the outage goes on once everybody lags."`
	Fsync        node.FsyncFlag    `name:"fsync" default:"1s" env:"POKED_FSYNC" help:"How soon the embedded NATS has a write on disk: always, or a duration."`
	Profile      string            `name:"profile" placeholder:"FILE" env:"POKED_BENCH_PROFILE" help:"Write a CPU profile of the catching up."`
	JSON         bool              `name:"json" env:"POKED_JSON" help:"Print the result as one JSON object."`
	Dispatcher   dispatcher.Config `embed:"" group:"Dispatcher:"`
}

// isolationFanout is how many users, each at another gateway, an event of the
// light load notifies; outageFanout likewise in the outage.
const (
	isolationFanout = 10
	outageFanout    = 100
)

// outageEach is how many notifications each pusher misses in the outage.
const outageEach = 3

// Help says what the figures mean.
func (isolationCmd) Help() string {
	return "Rounds of a light load, from event to poke at the gateways that are well: none misbehaves, one hangs, one answer of " +
		"a hundred is 500. Left out are the first gateway, which is the one that hangs, and pushers that were refused " +
		"something. Then all gateways fail while every pusher misses three notifications, and all recover at once. " +
		"Memory is that of this process, in which NATS runs too; the heap is split by who allocated it, from the sampled heap profile. " +
		"Exit code 1 if a poke was lost or came twice."
}

// Validate refuses what cannot be measured.
func (c isolationCmd) Validate() error {
	switch {
	case c.Gateways < 2, c.LightRate < isolationFanout, c.LightFor <= 0:
		return fmt.Errorf("--gateways must be at least 2, --light-rate at least %d, --light-for positive", isolationFanout)
	case c.Rounds < 0, c.Lagging < 0, c.Outage < 0, c.AnswerAfter < 0:
		return errors.New("--rounds, --lagging, --outage and --answer-after must not be negative")
	case c.Lagging%outageFanout != 0:
		return fmt.Errorf("--lagging must be a multiple of %d: as many share a room", outageFanout)
	}
	return c.Dispatcher.Validate()
}

// Run measures and reports.
func (c isolationCmd) Run(ctx context.Context, std terminal.Streams) error {
	runtime.MemProfileRate = heapSampling
	gateways, err := startGateways(ctx, c.Gateways, c.AnswerAfter)
	if err != nil {
		return err
	}
	defer gateways.stop()
	r := isolationRun{
		isolationCmd: c, gateways: gateways,
		log: slog.New(slog.NewTextHandler(std.Err, &slog.HandlerOptions{Level: slog.LevelWarn})),
		progress: func(format string, args ...any) {
			_, _ = fmt.Fprintf(std.Err, format+"\n", args...) // nobody left to tell
		},
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

// world makes a world whose users are spread over all gateways.
func (r *isolationRun) world(ctx context.Context, groups, fanout, roomsEach int) (*world, error) {
	r.progress("%d users in %d rooms of %d, at %d gateways", groups*fanout, groups*roomsEach, fanout, r.Gateways)
	return newWorld(ctx, worldOptions{
		groups: groups, fanout: fanout, roomsEach: roomsEach, gateways: r.gateways.urls,
		dispatcher: r.Dispatcher, fsync: r.Fsync,
	}, r.log)
}
