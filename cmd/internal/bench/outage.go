package bench

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"poked/cmd/internal/terminal"
)

// outageCmd is "pokelab bench outage": all gateways fail while every pusher misses
// notifications, and recover at once.
//
//	           this process                       another process
//	publisher ─▶ NATS, files ─▶ dispatcher ─▶ gateway 0 … N−1, all answer 503 in the outage
//	bare loop of net/http ────────────────────▶ all of them
//
// Every pusher gets as many notifications twice before: then the dispatcher has state for
// each, and the cost of a poke while all is well is known.
type outageCmd struct {
	Many         manyGateways  `embed:""`
	Lagging      int           `name:"lagging" default:"40000" env:"POKED_BENCH_LAGGING" help:"Pushers, one per user."`
	LaggingRooms int           `name:"lagging-rooms" default:"3" enum:"1,3" env:"POKED_BENCH_LAGGING_ROOMS" help:"Rooms of the three notifications that each pusher misses: 3 or 1."`
	Outage       time.Duration `name:"outage" default:"20s" env:"POKED_BENCH_OUTAGE" help:"Duration of the outage after all pushers lag."`
	Busy         int           `name:"busy" default:"0" env:"POKED_BENCH_BUSY" help:"Busy processes beside the outage, the recovery and the bare loop that these are compared with."`
	Profile      string        `name:"profile" placeholder:"FILE" env:"POKED_BENCH_PROFILE" help:"Write a CPU profile of the catch-up."`
	JSON         bool          `name:"json" env:"POKED_JSON" help:"Print the result as a JSON object."`
}

// outageFanout is how many users an event notifies.
const outageFanout = 100

// outageEach is how many notifications each pusher misses in the outage.
const outageEach = 3

// Help is shown by kong under the command's summary.
func (outageCmd) Help() string {
	return "All gateways answer 503 while every pusher misses three notifications, and all recover at once. A plain net/http loop posts " +
		"as many bodies to the same gateways before and after, as the baseline. CPU is that of this process, including NATS. " +
		"Memory is that of this process, too; the heap is attributed by allocating code, from the sampled heap profile. A heartbeat " +
		"of the dispatcher counts as missed if NATS stored the next one too late. " +
		"Exit code 1 if a poke was lost or arrived twice."
}

// Validate is called by kong.
func (c outageCmd) Validate() error {
	if c.Lagging < 1 || c.Outage < 0 || c.Busy < 0 {
		return errors.New("--lagging must be at least 1, --outage and --busy must not be negative")
	}
	if c.Lagging%outageFanout != 0 {
		return fmt.Errorf("--lagging must be a multiple of %d: so many share a room", outageFanout)
	}
	return c.Many.check()
}

// Run measures and prints a report.
func (c outageCmd) Run(ctx context.Context, std terminal.Streams) error {
	runtime.MemProfileRate = heapSampling
	many, err := c.Many.start(ctx, std)
	if err != nil {
		return err
	}
	defer many.gateways.stop()
	r := outageRun{outageCmd: c, gatewaysRun: many}
	if err := r.measure(ctx); err != nil {
		return fmt.Errorf("measure outage: %w", err)
	}
	if err := terminal.PrintReport(std.Out, &r.report, c.JSON); err != nil {
		return err
	}
	return r.report.verdict()
}

// outageRun is one run of the benchmark.
type outageRun struct {
	outageCmd
	*gatewaysRun

	w      *world
	report outageReport
}

// bareConcurrency is the number of requests in flight of the bare loop.
const bareConcurrency = 256

// measure runs the benchmark.
func (r *outageRun) measure(ctx context.Context) (err error) {
	if r.w, err = r.world(ctx, r.Lagging/outageFanout, outageFanout, r.LaggingRooms); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.w.close()) }()
	r.report = outageReport{Lagging: r.Lagging, Rooms: r.LaggingRooms, Limit: r.Dispatcher.GatewaySlots, Busy: r.Busy}
	// What the bare loop needs is part of the memory before, but is measured later.
	if err := inTurn(ctx, []step{
		r.tellAll, r.bareRound, r.memory(&r.report.Earlier),
		r.tellAll, r.bareRound, r.memory(&r.report.Before),
	}); err != nil {
		return err
	}
	r.report.BareRate, r.report.BareCPU = nil, nil
	return whileBusy(ctx, r.Busy, func() error {
		return inTurn(ctx, []step{r.bareRound, r.watched, r.memory(&r.report.After), r.bareRound})
	})
}

// watched runs the outage and the recovery, and watches the heartbeats meanwhile.
func (r *outageRun) watched(ctx context.Context) error {
	stop := r.w.watchHeartbeats(ctx, &r.report.Heartbeats)
	defer stop()
	return inTurn(ctx, []step{r.fallBehind, r.memory(&r.report.During), r.catchUp})
}

// memory returns a step that measures memory.
func (r *outageRun) memory(into *memoryUse) step {
	return func(context.Context) error {
		*into = remember()
		return nil
	}
}

// tellAll delivers to every pusher as many notifications as it will miss. After the first
// time the dispatcher has state for every pusher, so that this does not count as a cost of
// the outage.
func (r *outageRun) tellAll(ctx context.Context) error {
	pokes, delivered := outageEach*r.Lagging, r.w.d.Stats().Delivered
	r.progress("%d pokes while all gateways work", pokes)
	cost := spent()
	if err := r.w.publish(ctx, outageEach*r.w.groups); err != nil {
		return err
	}
	if err := r.w.settle(ctx, r.progress, func() int64 {
		r.report.PeakWell = max(r.report.PeakWell, residentBytes())
		s := r.w.d.Stats()
		return int64(pokes) - int64(s.Delivered-delivered) + s.Lagging //nolint:gosec // no counter is that high
	}); err != nil {
		return err
	}
	r.report.LiveCPU = spent().since(cost).cpuEach(pokes)
	seen, err := r.gateways.all(ctx, pokes)
	r.report.Lost, r.report.Duplicates = r.report.Lost+seen.Lost, r.report.Duplicates+seen.Duplicates
	return err
}

// bareRound measures the bare loop.
func (r *outageRun) bareRound(ctx context.Context) error {
	bare := newBareLoop(r.gateways.urls, bareConcurrency)
	defer bare.close()
	pokes := outageEach * r.Lagging
	began, cost := time.Now(), spent()
	if err := bare.post(ctx, pokes); err != nil {
		return err
	}
	rate := float64(pokes) / time.Since(began).Seconds()
	r.report.BareRate = append(r.report.BareRate, rate)
	r.report.BareCPU = append(r.report.BareCPU, spent().since(cost).cpuEach(pokes))
	r.progress("bare loop: %.0f/s", rate)
	_, err := r.gateways.all(ctx, pokes)
	return err
}

// fallBehind makes all gateways fail while every pusher misses notifications.
func (r *outageRun) fallBehind(ctx context.Context) error {
	if err := r.gateways.behave(ctx, behaveDown); err != nil {
		return err
	}
	notified := r.w.d.Stats().Notifications
	if err := r.w.publish(ctx, outageEach*r.w.groups); err != nil {
		return err
	}
	if err := r.w.settle(ctx, r.progress, func() int64 {
		s, all := r.w.d.Stats(), int64(r.Lagging)
		return all - s.Lagging + outageEach*all - int64(s.Notifications-notified) //nolint:gosec // no counter is that high
	}); err != nil {
		return err
	}
	r.progress("all pushers lag, for %s", r.Outage)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(r.Outage):
	}
	seen, err := r.gateways.all(ctx, 0)
	r.report.Refused = seen.Refused
	return err
}

// catchUp makes all gateways work again and waits until all pushers have caught up.
func (r *outageRun) catchUp(ctx context.Context) error {
	if r.Profile != "" {
		stop, err := profile(r.Profile)
		if err != nil {
			return err
		}
		defer stop()
	}
	if err := r.gateways.behave(ctx, behaveWell); err != nil {
		return err
	}
	cost := spent()
	if err := r.w.settle(ctx, r.progress, func() int64 {
		r.report.Peak = max(r.report.Peak, residentBytes())
		return r.w.d.Stats().Lagging
	}); err != nil {
		return err
	}
	pokes := outageEach * r.Lagging
	r.report.CPU = spent().since(cost).cpuEach(pokes)
	seen, err := r.gateways.all(ctx, pokes)
	if err != nil {
		return err
	}
	r.report.CaughtUp = seen
	r.report.Lost, r.report.Duplicates = r.report.Lost+seen.Lost, r.report.Duplicates+seen.Duplicates
	r.report.Rate = float64(pokes) / (seen.LastAfter - seen.FirstAfter).Seconds()
	for _, n := range seen.EachSecond {
		r.report.Busiest = max(r.report.Busiest, n)
	}
	return nil
}
