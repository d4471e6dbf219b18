package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"poked/cmd/internal/child"
	"poked/cmd/internal/node"
	"poked/cmd/internal/terminal"
	"poked/events/wait"
)

// scaleCmd is "pokelab bench scale": the same work done by one dispatcher and by several.
//
//	        this process             separate processes
//	publisher ─▶ NATS, files ─▶ dispatcher 1 … N ─▶ sink
//
// The numbers of dispatchers alternate, so that other load on the machine affects all of
// them. A round takes several seconds, because each begins with new processes, whose first
// second costs the same however many there are.
type scaleCmd struct {
	Dispatchers []int          `name:"dispatchers" default:"1,2,4" env:"POKED_BENCH_DISPATCHERS" help:"Numbers of dispatchers; one measurement per value."`
	Fanout      int            `name:"fanout" default:"10" env:"POKED_BENCH_FANOUT" help:"Users notified by each event."`
	Pokes       int            `name:"pokes" default:"300000" env:"POKED_BENCH_POKES" help:"Pokes per round."`
	Rounds      int            `name:"rounds" default:"3" env:"POKED_BENCH_ROUNDS" help:"Rounds of each measurement; medians are reported."`
	Concurrency int            `name:"concurrency" default:"64" env:"POKED_BENCH_CONCURRENCY" help:"Requests in flight, for all dispatchers together."`
	Settle      time.Duration  `name:"settle" default:"8s" env:"POKED_BENCH_SETTLE" help:"Time for dispatchers to share the partitions before a round."`
	Fsync       node.FsyncFlag `name:"fsync" default:"1s" env:"POKED_FSYNC" help:"How often the embedded NATS syncs to disk: always, or an interval."`
	JSON        bool           `name:"json" env:"POKED_JSON" help:"Print the result as a JSON object."`
}

// Help is shown by kong under the command's summary.
func (scaleCmd) Help() string {
	return "Dispatchers are separate processes; NATS and the publisher run in this one. With fewer cores than dispatchers the rate " +
		"cannot grow: then check that the CPU time per poke stays the same and that the work is spread evenly. " +
		"A dispatcher's share of the work is its share of the CPU time. Exit code 1 if a poke was lost or arrived twice."
}

// Validate is called by kong.
func (c scaleCmd) Validate() error {
	if c.Fanout < 1 || c.Pokes < c.Fanout || c.Rounds < 1 || c.Settle <= 0 {
		return errors.New("--fanout, --rounds and --settle must be positive, --pokes at least --fanout")
	}
	for _, n := range c.Dispatchers {
		if n < 1 || n > c.Concurrency {
			return errors.New("--dispatchers must be at least 1 and at most --concurrency")
		}
	}
	return nil
}

// Run measures and prints a report.
func (c scaleCmd) Run(ctx context.Context, std terminal.Streams) (err error) {
	log := slog.New(slog.NewTextHandler(std.Err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	sink, err := startSink(ctx, "bench-sink")
	if err != nil {
		return err
	}
	defer sink.stop()
	w, err := newWorld(ctx, worldOptions{
		groups: groupsFor(c.Pokes, c.Fanout), fanout: c.Fanout, roomsEach: 1,
		gateways: []string{sink.url}, fsync: c.Fsync, outside: true,
	}, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	report := newScaleReport(c)
	for round := range c.Rounds {
		for n := range report.Results {
			sample, err := c.measure(ctx, w, sink, report.Results[n].Dispatchers)
			if err != nil {
				return err
			}
			report.Results[n].add(sample)
			_, _ = fmt.Fprintf(std.Err, "round %d of %d, %d dispatchers: %.0f pokes/s, %.1f µs of their CPU time per poke\n", // a failure cannot be reported anywhere
				round+1, c.Rounds, report.Results[n].Dispatchers, sample.Rate, sample.CPU)
		}
	}
	if err := terminal.PrintReport(std.Out, report, c.JSON); err != nil {
		return err
	}
	return report.verdict()
}

// measure runs one round with so many dispatchers.
func (c scaleCmd) measure(ctx context.Context, w *world, sink *sinkProcess, dispatchers int) (s scaleSample, err error) {
	var workers []*child.Process
	defer func() { err = errors.Join(err, child.StopAll(workers)) }()
	for n := range dispatchers {
		worker := c.dispatcher(w, n, dispatchers)
		workers = append(workers, worker)
		if err := worker.Start(); err != nil {
			return s, err
		}
	}
	if err := wait.For(ctx, c.Settle); err != nil {
		return s, err
	}
	messages := c.Pokes / c.Fanout
	warm := min(messages, len(w.rooms))
	if _, err := burst(ctx, sink, warm*c.Fanout, func() error { return w.publish(ctx, warm) }); err != nil {
		return s, err
	}
	before := cpuOfEach(workers)
	if s.burstSample, err = burst(ctx, sink, messages*c.Fanout, func() error { return w.publish(ctx, messages) }); err != nil {
		return s, err
	}
	s.took(before, cpuOfEach(workers), messages*c.Fanout)
	for _, worker := range workers {
		s.EndedAlone += worker.EndedAlone()
	}
	return s, nil
}

// dispatcher returns one of several dispatchers that share the concurrency.
func (c scaleCmd) dispatcher(w *world, n, of int) *child.Process {
	slots := strconv.Itoa(c.Concurrency / of)
	return w.dispatcherProcess(fmt.Sprintf("dispatcher %d of %d", n+1, of), "--slots", slots, "--gateway-slots", slots)
}

func cpuOfEach(workers []*child.Process) []time.Duration {
	var each []time.Duration
	for _, worker := range workers {
		each = append(each, child.CPUOf(worker.PID()))
	}
	return each
}

// scaleSample is the result of one round with some number of dispatchers.
type scaleSample struct {
	burstSample // CPU is that of all dispatchers

	Others     float64   `json:"others_cpu_us_per_poke"` // of NATS and the publisher
	Shares     []float64 `json:"shares"`                 // of the dispatchers' CPU time, largest first
	EndedAlone int       `json:"ended_alone"`
}

// took records the CPU time used by each dispatcher.
func (s *scaleSample) took(before, after []time.Duration, pokes int) {
	var sum time.Duration
	for n := range after {
		sum += after[n] - before[n]
	}
	s.Others, s.CPU = s.CPU, expense{cpu: sum}.cpuEach(pokes)
	for n := range after {
		s.Shares = append(s.Shares, float64(after[n]-before[n])/float64(max(sum, 1)))
	}
	slices.SortFunc(s.Shares, func(a, b float64) int { return cmp.Compare(b, a) })
}
