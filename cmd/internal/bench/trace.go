package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"text/tabwriter"
	"time"

	"poked/cmd/internal/node"
	"poked/cmd/internal/terminal"
	"poked/dispatcher/deliver"
	"poked/events/stream"
	"poked/events/wait"
)

// traceCmd measures what it costs to keep what became of each poke (--trace-for): two worlds, one
// with it and one without, have their rounds in turn.
type traceCmd struct {
	Fanout      int            `name:"fanout" default:"5" env:"POKED_BENCH_FANOUT" help:"Users notified by each event."`
	Pokes       int            `name:"pokes" default:"100000" env:"POKED_BENCH_POKES" help:"Pokes per round."`
	Rounds      int            `name:"rounds" default:"7" env:"POKED_BENCH_ROUNDS" help:"Rounds of each side; medians are reported."`
	Concurrency int            `name:"concurrency" default:"64" env:"POKED_BENCH_CONCURRENCY" help:"Requests in flight."`
	TraceFor    time.Duration  `name:"trace-for" default:"24h" env:"POKED_TRACE_FOR" help:"How long what became of each poke is kept, on the one side."`
	Fsync       node.FsyncFlag `name:"fsync" default:"1s" env:"POKED_FSYNC" help:"How often the embedded NATS syncs to disk: always, or an interval."`
	JSON        bool           `name:"json" env:"POKED_JSON" help:"Print the result as a JSON object."`
}

// Help is shown by kong under the command's summary.
func (traceCmd) Help() string {
	return "The same room events go through two deployments in this process, each with a NATS and a dispatcher, whose rounds alternate: " +
		"one keeps what became of each poke, as poked trace needs it, and one does not. CPU is that of the whole process, NATS included, " +
		"but not of the gateway. Exit code 1 if a poke was lost or arrived twice."
}

// traceBytes bounds OUTCOMES, as by default.
const traceBytes = 256 << 20

// Validate is called by kong.
func (c traceCmd) Validate() error {
	if c.Fanout < 1 || c.Pokes < c.Fanout || c.Rounds < 1 || c.Concurrency < 1 || c.TraceFor < time.Minute {
		return errors.New("--fanout, --rounds and --concurrency must be positive, --pokes at least --fanout, --trace-for at least 1m")
	}
	return nil
}

// traceReport is the result of "pokelab bench trace": a sample of each side per round.
type traceReport struct {
	Fanout int           `json:"fanout"`
	Pokes  int           `json:"pokes_per_round"`
	Off    []burstSample `json:"off"`
	On     []burstSample `json:"on"`
	Ratio  float64       `json:"cpu_ratio"` // median of the rounds
}

// Run measures and prints a report.
func (c traceCmd) Run(ctx context.Context, std terminal.Streams) error {
	progress := progressTo(std)
	sink, err := startSink(ctx, "bench-sink")
	if err != nil {
		return err
	}
	defer sink.stop()
	off, err := c.world(ctx, sink, stream.Topology{})
	if err != nil {
		return err
	}
	on, err := c.world(ctx, sink, stream.Topology{TraceFor: c.TraceFor, TraceBytes: traceBytes})
	if err != nil {
		return errors.Join(err, off.close())
	}
	report, err := c.measure(ctx, sink, off, on, progress)
	if err := errors.Join(err, off.close(), on.close()); err != nil {
		return err
	}
	return errors.Join(terminal.PrintReport(std.Out, report, c.JSON), report.verdict())
}

func (c traceCmd) world(ctx context.Context, sink *sinkProcess, topology stream.Topology) (*world, error) {
	groups := groupsFor(c.Pokes, c.Fanout)
	cfg, err := dispatcherConfig(c.Concurrency, groups, deliver.BadgeMessages)
	if err != nil {
		return nil, err
	}
	return newWorld(ctx, worldOptions{
		groups: groups, fanout: c.Fanout, roomsEach: 1, gateways: []string{sink.url}, fsync: c.Fsync, dispatcher: cfg, trace: topology,
	}, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})))
}

// measure runs the rounds. Which side is first alternates, too.
func (c traceCmd) measure(ctx context.Context, sink *sinkProcess, off, on *world, progress func(string, ...any)) (r traceReport, err error) {
	r.Fanout, r.Pokes = c.Fanout, c.Pokes/c.Fanout*c.Fanout
	var ratios []float64
	for round := range c.Rounds + 1 {
		var samples [2]burstSample
		sides := []*world{off, on}
		for i := range sides {
			side := (round + i) % len(sides)
			samples[side], err = burst(ctx, sink, r.Pokes, func() error { return sides[side].publish(ctx, r.Pokes/c.Fanout) })
			if err != nil {
				return r, err
			}
		}
		if round == 0 {
			continue // warms up files, connections and the sink
		}
		r.Off, r.On = append(r.Off, samples[0]), append(r.On, samples[1])
		ratios = append(ratios, samples[1].CPU/samples[0].CPU)
		progress("round %d of %d: CPU %.1f µs/poke without, %.1f with, ratio %.3f", round, c.Rounds, samples[0].CPU, samples[1].CPU, samples[1].CPU/samples[0].CPU)
	}
	r.Ratio = middleOf(ratios)
	return r, on.outcomesKept(ctx)
}

// outcomesKept waits until the stream holds outcomes, which are written some time after their
// pokes: without any, the sides would be the same.
func (w *world) outcomesKept(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("nothing was kept of what became of pokes"))
	defer cancel()
	if wait.Until(ctx, wait.RetryPause, nil, func() error {
		_, kept, err := w.conn.StreamEnd(ctx, "OUTCOMES")
		if err == nil && kept == 0 {
			err = errors.New("the stream is empty")
		}
		return err
	}) != nil {
		return context.Cause(ctx)
	}
	return nil
}

// Print prints the report as a table.
func (r traceReport) Print(out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(table, "outcomes\tpokes/s\tCPU µs/poke\tallocs/poke\tratio\t") // Flush reports what fails
	for _, side := range []struct {
		name    string
		samples []burstSample
		ratio   float64
	}{{"dropped", r.Off, 1}, {"kept", r.On, r.Ratio}} {
		_, _ = fmt.Fprintf(table, "%s\t%.0f\t%.1f\t%.1f\t%.3f\t\n", side.name,
			median(side.samples, func(s burstSample) float64 { return s.Rate }), median(side.samples, func(s burstSample) float64 { return s.CPU }),
			median(side.samples, func(s burstSample) float64 { return s.Allocs }), side.ratio)
	}
	return table.Flush()
}

func (r traceReport) verdict() error {
	for _, s := range append(r.Off[:len(r.Off):len(r.Off)], r.On...) {
		if s.Lost > 0 || s.Duplicates > 0 {
			return fmt.Errorf("%d pokes were lost, %d arrived twice", s.Lost, s.Duplicates)
		}
	}
	return nil
}
