package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"poked/cmd/internal/node"
	"poked/cmd/internal/terminal"
	"poked/dispatcher/deliver"
)

// unreadCmd is "pokelab bench unread": the cost of unread counts.
//
//	cost     two worlds take turns, --badge=none and --badge=messages: CPU per poke
//	latency  two users take turns, one with many unread notifications and one with none
type unreadCmd struct {
	Fanout      []int          `name:"fanout" default:"100,1" env:"POKED_BENCH_FANOUT" help:"Users notified by each event; one measurement of the cost per value."`
	Pokes       int            `name:"pokes" default:"50000" env:"POKED_BENCH_POKES" help:"Pokes per round of the cost measurement."`
	Rounds      int            `name:"rounds" default:"5" env:"POKED_BENCH_ROUNDS" help:"Rounds of each measurement; medians are reported."`
	Concurrency int            `name:"concurrency" default:"64" env:"POKED_BENCH_CONCURRENCY" help:"Requests in flight."`
	Unread      int            `name:"unread" default:"10000" env:"POKED_BENCH_UNREAD" help:"Unread notifications of the user with many."`
	LightRate   int            `name:"light-rate" default:"100" env:"POKED_BENCH_LIGHT_RATE" help:"Pokes per second of the latency measurement."`
	LightFor    time.Duration  `name:"light-for" default:"3s" env:"POKED_BENCH_LIGHT_FOR" help:"Duration of each round of the latency measurement."`
	Fsync       node.FsyncFlag `name:"fsync" default:"1s" env:"POKED_FSYNC" help:"How often the embedded NATS syncs to disk: always, or an interval."`
	JSON        bool           `name:"json" env:"POKED_JSON" help:"Print the result as a JSON object."`
}

// Help is shown by kong under the command's summary.
func (unreadCmd) Help() string {
	return "CPU is that of this process, including NATS, under the load of pokelab bench throughput, with and without counts. " +
		"Latency is from event to poke at a light load, for a user with many unread notifications and one with none; also with " +
		"a receipt before each event. Exit code 1 if a poke was lost or arrived twice."
}

// Validate is called by kong.
func (c unreadCmd) Validate() error {
	for _, fanout := range c.Fanout {
		if fanout < 1 || fanout > c.Pokes {
			return errors.New("--fanout must be at least 1 and at most --pokes")
		}
	}
	if c.Rounds < 1 || c.Concurrency < 1 || c.Unread < 1 || c.LightRate < 1 {
		return errors.New("--rounds, --concurrency, --unread and --light-rate must be at least 1")
	}
	if c.events() < 1 {
		return errors.New("--light-for must be long enough for an event at --light-rate")
	}
	return nil
}

// events returns the number of events in a round of the latency measurement.
func (c unreadCmd) events() int { return int(c.LightFor.Seconds() * float64(c.LightRate)) }

// Run measures and prints a report.
func (c unreadCmd) Run(ctx context.Context, std terminal.Streams) error {
	sink, err := startSink(ctx, "bench-sink")
	if err != nil {
		return err
	}
	defer sink.stop()
	r := unreadRun{
		unreadCmd: c, sink: sink,
		log:      slog.New(slog.NewTextHandler(std.Err, &slog.HandlerOptions{Level: slog.LevelWarn})),
		progress: progressTo(std),
	}
	if err := inTurn(ctx, []step{r.costs, r.latencies}); err != nil {
		return err
	}
	if err := terminal.PrintReport(std.Out, r.report, c.JSON); err != nil {
		return err
	}
	return r.report.verdict()
}

// unreadRun is one run of the benchmark.
type unreadRun struct {
	unreadCmd

	sink     *sinkProcess
	log      *slog.Logger
	progress func(format string, args ...any)
	report   unreadReport
}

// world creates a world with this kind of badge.
func (r *unreadRun) world(ctx context.Context, groups, fanout, roomsEach int, badge deliver.BadgeOf) (*world, error) {
	cfg, err := dispatcherConfig(r.Concurrency, groups*roomsEach, badge)
	if err != nil {
		return nil, err
	}
	if roomsEach > 1 {
		cfg.CatchUpLimit = 100
	}
	return newWorld(ctx, worldOptions{
		groups: groups, fanout: fanout, roomsEach: roomsEach, gateways: []string{r.sink.url}, fsync: r.Fsync, dispatcher: cfg,
	}, r.log)
}

// costs measures the cost of a poke without and with counts.
func (r *unreadRun) costs(ctx context.Context) error {
	for _, fanout := range r.Fanout {
		cost, err := r.cost(ctx, fanout)
		if err != nil {
			return fmt.Errorf("measure cost at fan-out %d: %w", fanout, err)
		}
		r.report.Cost = append(r.report.Cost, cost)
	}
	return nil
}

// cost measures one fan-out in a world without counts and in one with them.
func (r *unreadRun) cost(ctx context.Context, fanout int) (cost unreadCost, err error) {
	groups := groupsFor(r.Pokes, fanout)
	none, err := r.world(ctx, groups, fanout, 1, deliver.BadgeNone)
	if err != nil {
		return cost, err
	}
	defer func() { err = errors.Join(err, none.close()) }()
	messages, err := r.world(ctx, groups, fanout, 1, deliver.BadgeMessages)
	if err != nil {
		return cost, err
	}
	defer func() { err = errors.Join(err, messages.close()) }()
	cost = unreadCost{Fanout: fanout, Pokes: r.Pokes / fanout * fanout}
	err = r.takeTurns(ctx, [2]*world{none, messages}, &cost)
	return cost, err
}

// takeTurns runs the rounds. The two worlds alternate in going first.
func (r *unreadRun) takeTurns(ctx context.Context, worlds [2]*world, cost *unreadCost) (err error) {
	for round := range r.Rounds + 1 {
		var samples [2]burstSample
		for turn := range worlds {
			i := (turn + round) % len(worlds)
			samples[i], err = burst(ctx, r.sink, cost.Pokes, func() error { return worlds[i].publish(ctx, cost.Pokes/cost.Fanout) })
			if err != nil {
				return err
			}
			r.report.count(samples[i].Lost, samples[i].Duplicates)
		}
		if round == 0 {
			continue // warms up files, connections and the sink
		}
		cost.None, cost.Messages = append(cost.None, samples[0]), append(cost.Messages, samples[1])
		r.progress("fan-out %d, round %d of %d: %.1f µs per poke without counts, %.1f with, ratio %.2f",
			cost.Fanout, round, r.Rounds, samples[0].CPU, samples[1].CPU, samples[1].CPU/samples[0].CPU)
	}
	return nil
}
