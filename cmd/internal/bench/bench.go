// Package bench is "pokelab bench": it measures throughput, scaling, isolation from bad
// gateways, recovery from a kill, an overload or an outage, a realistic day, unread counts,
// memory, the log in several streams, and the registry on each kind of database. Each result
// is compared with a baseline, such as a bare HTTP client, measured on the same machine in
// the same run. Results of different runs are not comparable.
package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/pprof"
	"time"

	"github.com/alecthomas/kong"

	"poked/cmd/internal/node"
	"poked/cmd/internal/terminal"
	"poked/dispatcher"
	"poked/dispatcher/deliver"
	"poked/events/stream"
)

// Commands are the subcommand for benchmarks and the hidden ones that it starts as separate
// processes.
type Commands struct {
	Bench     Cmd          `cmd:"" help:"Measure throughput, scaling, isolation, recovery, a realistic day, unread counts and memory."`
	Sink      sinkCmd      `cmd:"" name:"bench-sink" hidden:"" help:"Run the gateway of a benchmark."`
	Gateways  gatewaysCmd  `cmd:"" name:"bench-gateways" hidden:"" help:"Run the gateways of a benchmark."`
	NATS      natsCmd      `cmd:"" name:"bench-nats" hidden:"" help:"Run the NATS server of a benchmark."`
	Busy      busyCmd      `cmd:"" name:"bench-busy" hidden:"" help:"Keep a core busy beside a benchmark."`
	Directory directoryCmd `cmd:"" name:"bench-directory" hidden:"" help:"Run the dispatcher of the memory benchmark."`
}

// Cmd is "pokelab bench".
type Cmd struct {
	Throughput throughputCmd `cmd:"" default:"withargs" help:"Measure throughput and latency, compared with a bare HTTP client (the default)."`
	Scale      scaleCmd      `cmd:"" help:"Measure several dispatchers compared with one."`
	Isolation  isolationCmd  `cmd:"" help:"Measure the effect of bad push gateways on others."`
	Outage     outageCmd     `cmd:"" help:"Measure an outage of all push gateways, and the recovery."`
	Unread     unreadCmd     `cmd:"" help:"Measure the cost of unread counts."`
	Recovery   recoveryCmd   `cmd:"" help:"Measure how a dispatcher recovers from kill -9 under load."`
	Overload   overloadCmd   `cmd:"" help:"Measure throughput when more is published than can be delivered, and after that."`
	Day        dayCmd        `cmd:"" help:"Measure the cost of a notification on a realistic day."`
	Trace      traceCmd      `cmd:"" help:"Measure the cost of keeping what became of each poke."`
	Streams    streamsCmd    `cmd:"" help:"Measure writes to a log in one stream and in several, on three servers."`
	Soak       soakCmd       `cmd:"" help:"Measure what grows with the age of streams: many rounds in which everything is replaced."`
	Registry   registryCmd   `cmd:"" help:"Measure how fast registries take pushers and answer, on SQLite and on PostgreSQL."`
	Memory     pushersCmd    `cmd:"" help:"Measure memory and load time of a dispatcher per registered pusher."`
}

// worldUsers is the approximate number of users with a pusher in a world.
const worldUsers = 5000

// groupsFor returns how many groups of fanout users a world has: enough for worldUsers, but in a
// short run no more than a round of so many pokes reaches.
func groupsFor(pokes, fanout int) int {
	return max(min(worldUsers, pokes)/fanout, stream.DefaultPartitions)
}

// throughputCmd measures the whole path compared with a bare HTTP client.
//
//	                     this process                              another process
//	publisher ─▶ NATS, files ─▶ match ─▶ NATS, files ─▶ deliver ─▶ sink
//	bare loop of net/http, same bodies, same concurrency ────────▶ sink
//
// The two alternate, so that other load on the machine affects both.
type throughputCmd struct {
	Fanout      []int          `name:"fanout" default:"100,1" env:"POKED_BENCH_FANOUT" help:"Users notified by each event; one measurement per value."`
	Pokes       int            `name:"pokes" default:"100000" env:"POKED_BENCH_POKES" help:"Pokes per round."`
	Rounds      int            `name:"rounds" default:"3" env:"POKED_BENCH_ROUNDS" help:"Rounds of each measurement; medians are reported."`
	Concurrency int            `name:"concurrency" default:"64" env:"POKED_BENCH_CONCURRENCY" help:"Requests in flight, on each side."`
	LightRate   int            `name:"light-rate" default:"200" env:"POKED_BENCH_LIGHT_RATE" help:"Pokes per second of the latency measurement."`
	LightFor    time.Duration  `name:"light-for" default:"5s" env:"POKED_BENCH_LIGHT_FOR" help:"Duration of the latency measurement, on each side."`
	Busy        int            `name:"busy" default:"0" env:"POKED_BENCH_BUSY" help:"Repeat each round beside this many busy processes. 0 skips that."`
	Fsync       node.FsyncFlag `name:"fsync" default:"1s" env:"POKED_FSYNC" help:"How often the embedded NATS syncs to disk: always, or an interval."`
	Profile     string         `name:"profile" placeholder:"FILE" env:"POKED_BENCH_PROFILE" help:"Write a CPU profile of the whole path."`
	JSON        bool           `name:"json" env:"POKED_JSON" help:"Print the result as a JSON object."`
}

// Help is shown by kong under the command's summary.
func (throughputCmd) Help() string {
	return "Room events go through the whole path: stored on disk by an embedded NATS, matched, stored again as " +
		"notifications, and poked over HTTP to a gateway in another process. In the same run a plain net/http loop " +
		"posts the same bodies to the same gateway with the same concurrency, as the baseline. Compare these two, not " +
		"results of different runs. With --busy both sides also run beside other busy processes, in every round. " +
		"Exit code 1 if a poke was lost or arrived twice."
}

// Validate is called by kong.
func (c throughputCmd) Validate() error {
	for _, fanout := range c.Fanout {
		if fanout < 1 || fanout > c.Pokes {
			return errors.New("--fanout must be at least 1 and at most --pokes")
		}
	}
	if c.Rounds < 1 || c.Concurrency < 1 || c.LightRate < 1 || c.LightFor <= 0 || c.Busy < 0 {
		return errors.New("--rounds, --concurrency, --light-rate and --light-for must be positive, --busy must not be negative")
	}
	return nil
}

// Run measures and prints a report.
func (c throughputCmd) Run(ctx context.Context, std terminal.Streams) error {
	progress := progressTo(std)
	sink, err := startSink(ctx, "bench-sink")
	if err != nil {
		return err
	}
	defer sink.stop()
	if c.Profile != "" {
		stop, err := profile(c.Profile)
		if err != nil {
			return err
		}
		defer stop()
	}
	var report throughputReport
	for _, fanout := range c.Fanout {
		result, err := c.measure(ctx, sink, fanout, progress)
		if err != nil {
			return fmt.Errorf("measure fan-out %d: %w", fanout, err)
		}
		report.Results = append(report.Results, result)
	}
	if err := terminal.PrintReport(std.Out, report, c.JSON); err != nil {
		return err
	}
	return report.verdict()
}

// step is a part of a run.
type step func(ctx context.Context) error

// inTurn runs steps until one fails.
func inTurn(ctx context.Context, steps []step) error {
	for _, run := range steps {
		if err := run(ctx); err != nil {
			return err
		}
	}
	return nil
}

// progressTo returns a function that prints a line about the progress.
func progressTo(std terminal.Streams) func(format string, args ...any) {
	return func(format string, args ...any) {
		_, _ = fmt.Fprintf(std.Err, format+"\n", args...) // a failure cannot be reported anywhere
	}
}

// measure runs the rounds of one fan-out in a new world.
func (c throughputCmd) measure(ctx context.Context, sink *sinkProcess, fanout int, progress func(string, ...any)) (throughputResult, error) {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	groups := groupsFor(c.Pokes, fanout)
	cfg, err := dispatcherConfig(c.Concurrency, groups, deliver.BadgeMessages)
	if err != nil {
		return throughputResult{}, err
	}
	w, err := newWorld(ctx, worldOptions{
		groups: groups, fanout: fanout, roomsEach: 1, gateways: []string{sink.url}, fsync: c.Fsync,
		dispatcher: cfg,
	}, log)
	if err != nil {
		return throughputResult{}, err
	}
	result := throughputResult{Fanout: fanout, Pokes: c.Pokes / fanout * fanout, Concurrency: c.Concurrency, Busy: c.Busy}
	err = c.rounds(ctx, w, sink, &result, progress)
	return result, errors.Join(err, w.close())
}

// dispatcherConfig is how a dispatcher is configured that has one gateway: as an operator
// gets it, except that the bare loop has as many requests in flight, and that nothing is
// passed over.
func dispatcherConfig(concurrency, rooms int, badge deliver.BadgeOf) (cfg dispatcher.Config, err error) {
	if err := kong.ApplyDefaults(&cfg); err != nil {
		return cfg, fmt.Errorf("configure the dispatcher: %w", err)
	}
	cfg.Slots, cfg.GatewaySlots, cfg.GatewayFloor = concurrency, concurrency, min(cfg.GatewayFloor, concurrency)
	cfg.CatchUpLimit, cfg.Badge = unlimited, badge
	cfg.OpenRooms = 2 * rooms * stream.DefaultPartitions
	return cfg, nil
}

func (c throughputCmd) rounds(ctx context.Context, w *world, sink *sinkProcess, result *throughputResult, progress func(string, ...any)) error {
	bare := newBareLoop([]string{sink.url}, c.Concurrency)
	defer bare.close()
	for round := range c.Rounds + 1 {
		quiet, err := c.round(ctx, w, bare, sink, result)
		if err != nil {
			return err
		}
		if round == 0 {
			continue // warms up files, connections and the sink
		}
		progress("fan-out %d, round %d of %d: %s", w.fanout, round, c.Rounds, quiet)
		result.Whole, result.Bare = append(result.Whole, quiet.whole), append(result.Bare, quiet.bare)
		if c.Busy == 0 {
			continue
		}
		var disturbed roundSamples
		if err := whileBusy(ctx, c.Busy, func() (err error) {
			disturbed, err = c.round(ctx, w, bare, sink, result)
			return err
		}); err != nil {
			return err
		}
		progress("fan-out %d, round %d of %d beside %d busy processes: %s", w.fanout, round, c.Rounds, c.Busy, disturbed)
		result.BusyWhole, result.BusyBare = append(result.BusyWhole, disturbed.whole), append(result.BusyBare, disturbed.bare)
	}
	progress("fan-out %d: latency at %d pokes/s, %s on each side", w.fanout, c.LightRate, c.LightFor)
	return c.light(ctx, w, bare, sink, result)
}

// roundSamples is a round of both sides.
type roundSamples struct{ whole, bare burstSample }

// String returns the rates.
func (r roundSamples) String() string {
	return fmt.Sprintf("%.0f pokes/s, bare %.0f/s, ratio %.2f", r.whole.Rate, r.bare.Rate, r.whole.Rate/r.bare.Rate)
}

// round measures both sides, one after the other.
func (c throughputCmd) round(ctx context.Context, w *world, bare *bareLoop, sink *sinkProcess, result *throughputResult) (r roundSamples, err error) {
	if r.whole, err = burst(ctx, sink, result.Pokes, func() error { return w.publish(ctx, result.Pokes/w.fanout) }); err != nil {
		return r, err
	}
	result.Lost += r.whole.Lost
	result.Duplicates += r.whole.Duplicates
	r.bare, err = burst(ctx, sink, result.Pokes, func() error { return bare.post(ctx, result.Pokes) })
	return r, err
}

func profile(path string) (stop func(), err error) {
	file, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("write profile: %w", err)
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		return nil, errors.Join(fmt.Errorf("write profile: %w", err), file.Close())
	}
	return func() {
		pprof.StopCPUProfile()
		_ = file.Close()
	}, nil
}
