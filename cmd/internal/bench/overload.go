package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"poked/cmd/internal/node"
	"poked/cmd/internal/terminal"
)

// overloadCmd is "pokelab bench overload": more load than the machine can do, then none.
//
//	this process                separate processes
//	publisher ─▶ NATS, files ─▶ dispatcher ─▶ sink
//	     └── at a multiple of the rate that was measured just before, and then nothing
type overloadCmd struct {
	Times        float64        `name:"times" default:"2" env:"POKED_BENCH_TIMES" help:"Offered rate, as a multiple of what the machine does."`
	Rate         float64        `name:"rate" default:"0" env:"POKED_BENCH_RATE" help:"Offered room events per second, instead of --times; 0 means --times."`
	For          time.Duration  `name:"for" default:"60s" env:"POKED_BENCH_FOR" help:"Duration of the overload."`
	DrainAtMost  time.Duration  `name:"drain-at-most" default:"10m" env:"POKED_BENCH_DRAIN_AT_MOST" help:"Longest time to wait after the overload; what has not arrived then counts as not delivered."`
	Fanout       int            `name:"fanout" default:"10" env:"POKED_BENCH_FANOUT" help:"Users notified by each event."`
	Pokes        int            `name:"pokes" default:"100000" env:"POKED_BENCH_POKES" help:"Pokes of the measurement of what the machine does, and of the bare loop."`
	CatchUpLimit int            `name:"catch-up-limit" default:"2147483647" env:"POKED_CATCH_UP_LIMIT" help:"The dispatcher's flag of that name; by default no notification is passed over."`
	Concurrency  int            `name:"concurrency" default:"64" env:"POKED_BENCH_CONCURRENCY" help:"Requests in flight, on each side."`
	Fsync        node.FsyncFlag `name:"fsync" default:"1s" env:"POKED_FSYNC" help:"How often NATS syncs to disk: always, or an interval."`
	Plot         string         `name:"plot" placeholder:"FILE" env:"POKED_BENCH_PLOT" help:"Write a plot of the throughput of each second, as SVG."`
	JSON         bool           `name:"json" env:"POKED_JSON" help:"Print the result as a JSON object."`
}

// Help is shown by kong under the command's summary.
func (overloadCmd) Help() string {
	return "First measures the throughput at full load, with as much published as is delivered. Then publishes at a multiple of that, and " +
		"then nothing until everything is delivered. The publisher waits while 512 events are not acknowledged, so NATS may take less " +
		"than is offered: the report has both. The first second of the overload counts for no minimum. Ratios are to the best five " +
		"seconds in a row of the overload. Exit code 1 if a poke was lost, not delivered in time or arrived twice."
}

// Validate is called by kong.
func (c overloadCmd) Validate() error {
	switch {
	case !(c.Times > 0), !(c.Rate >= 0), c.For < 2*time.Second, c.DrainAtMost <= 0:
		return errors.New("--times and --drain-at-most must be positive, --rate must not be negative, --for must be at least 2s")
	case c.Fanout < 1, c.Pokes < c.Fanout, c.CatchUpLimit < 1, c.Concurrency < 1:
		return errors.New("--fanout, --catch-up-limit and --concurrency must be at least 1, --pokes at least --fanout")
	}
	return nil
}

// overloadRun is one run of the benchmark.
type overloadRun struct {
	overloadCmd
	deployment

	progress func(format string, args ...any)
	report   overloadReport
}

// Run measures and prints a report.
func (c overloadCmd) Run(ctx context.Context, std terminal.Streams) error {
	r := &overloadRun{overloadCmd: c, progress: progressTo(std), report: overloadReport{Fanout: c.Fanout}}
	err := r.start(ctx, std)
	if err == nil {
		err = r.measure(ctx)
	}
	if err := errors.Join(err, r.stop()); err != nil {
		return err
	}
	if c.Plot != "" {
		if err := r.report.plot(c.Plot); err != nil {
			return err
		}
	}
	if err := terminal.PrintReport(std.Out, &r.report, c.JSON); err != nil {
		return err
	}
	return r.report.verdict()
}

// start starts the processes.
func (r *overloadRun) start(ctx context.Context, std terminal.Streams) error {
	return r.startDeployment(ctx, std, worldOptions{
		groups: groupsFor(r.Pokes, r.Fanout), fanout: r.Fanout, roomsEach: 1, fsync: r.Fsync,
	}, r.Concurrency, r.CatchUpLimit)
}

// measure runs the benchmark between two rounds of the bare loop.
func (r *overloadRun) measure(ctx context.Context) error {
	bare := newBareLoop([]string{r.sink.url}, r.Concurrency)
	defer bare.close()
	bareRound := func(ctx context.Context) error {
		sample, err := burst(ctx, r.sink, r.Pokes, func() error { return bare.post(ctx, r.Pokes) })
		r.report.Bare = append(r.report.Bare, sample)
		r.progress("bare loop: %.0f/s", sample.Rate)
		return err
	}
	return inTurn(ctx, []step{bareRound, r.fullLoad, r.overload, bareRound})
}

// fullLoad measures what the machine does, after a round that opens files and connections.
func (r *overloadRun) fullLoad(ctx context.Context) error {
	messages := r.Pokes / r.Fanout
	for range 2 {
		sample, err := burst(ctx, r.sink, messages*r.Fanout, func() error { return r.w.publish(ctx, messages) })
		if err != nil {
			return err
		}
		r.report.Full = sample.Rate
		r.report.Lost, r.report.Duplicates = r.report.Lost+sample.Lost, r.report.Duplicates+sample.Duplicates
	}
	r.progress("full load: %.0f pokes/s", r.report.Full)
	if err := r.d.untilIdle(ctx, r.progress, false); err != nil {
		return fmt.Errorf("wait for the full load: %w", err)
	}
	return nil
}
