package bench

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"poked/cmd/internal/node"
	"poked/cmd/internal/terminal"
)

// recoveryCmd is "pokelab bench recovery": kill -9 of the only dispatcher in the middle of
// a run, and a restart at once.
//
//	this process         separate processes
//	publisher ─▶ NATS, files ─▶ dispatcher ─▶ sink
//	     │                          ✗ kill -9 after half of the events
//	     └── at a steady rate, whatever the dispatcher does
type recoveryCmd struct {
	Events       int            `name:"events" default:"20000" env:"POKED_BENCH_EVENTS" help:"Room events; the dispatcher is killed after half of them."`
	Rate         float64        `name:"rate" default:"1200" env:"POKED_BENCH_RATE" help:"Room events per second."`
	Rooms        int            `name:"rooms" default:"1" env:"POKED_BENCH_ROOMS" help:"Number of rooms, which take turns."`
	Users        int            `name:"users" default:"2" env:"POKED_BENCH_USERS" help:"Users in each room, with a pusher each; an event notifies all of its room."`
	AtMost       time.Duration  `name:"at-most" default:"10m" env:"POKED_BENCH_AT_MOST" help:"Longest time to wait after the kill; what has not arrived then counts as not delivered."`
	CatchUpLimit int            `name:"catch-up-limit" default:"100" env:"POKED_CATCH_UP_LIMIT" help:"The dispatcher's flag of that name."`
	Concurrency  int            `name:"concurrency" default:"64" env:"POKED_BENCH_CONCURRENCY" help:"Requests in flight, on each side."`
	Fsync        node.FsyncFlag `name:"fsync" default:"1s" env:"POKED_FSYNC" help:"How often NATS syncs to disk: always, or an interval."`
	JSON         bool           `name:"json" env:"POKED_JSON" help:"Print the result as a JSON object."`
}

// Help is shown by kong under the command's summary.
func (recoveryCmd) Help() string {
	return "A poke is late by the time from publishing its event to its arrival. What is late by more than a second was " +
		"delivered during recovery. A bare net/http loop posts as many bodies before and after, as the baseline. A duplicate has a " +
		"reason if its poke was in flight at the kill, or answered so shortly before that the outcome could not be stored. " +
		"Exit code 1 if a poke was lost, not delivered in time, arrived twice without that reason, or was passed over: no pusher " +
		"was behind before the kill."
}

// Validate is called by kong.
func (c recoveryCmd) Validate() error {
	switch {
	case c.Events < 2, c.Rooms < 1, c.Users < 1, c.Concurrency < 1, c.CatchUpLimit < 1:
		return errors.New("--events must be at least 2, --rooms, --users, --concurrency and --catch-up-limit at least 1")
	case !(c.Rate > 0), c.AtMost <= 0:
		return errors.New("--rate and --at-most must be positive")
	}
	return nil
}

// recoveryRun is one run of the benchmark.
type recoveryRun struct {
	recoveryCmd
	deployment

	progress func(format string, args ...any)
	report   recoveryReport
}

// Run measures and prints a report.
func (c recoveryCmd) Run(ctx context.Context, std terminal.Streams) (err error) {
	r := &recoveryRun{recoveryCmd: c, progress: progressTo(std)}
	r.report = recoveryReport{Events: c.Events, Rate: c.Rate, Rooms: c.Rooms, Users: c.Users}
	if err := r.start(ctx, std); err != nil {
		return errors.Join(err, r.stop())
	}
	if err := errors.Join(r.measure(ctx), r.stop()); err != nil {
		return err
	}
	if err := terminal.PrintReport(std.Out, &r.report, c.JSON); err != nil {
		return err
	}
	return r.report.verdict()
}

// start starts the processes.
func (r *recoveryRun) start(ctx context.Context, std terminal.Streams) error {
	return r.startDeployment(ctx, std, worldOptions{
		groups: r.Rooms, fanout: r.Users, roomsEach: 1, fsync: r.Fsync,
	}, r.Concurrency, r.CatchUpLimit)
}

// measure runs the benchmark between two rounds of the bare loop.
func (r *recoveryRun) measure(ctx context.Context) error {
	warm := max(r.Rooms, warmEvents)
	if _, err := burst(ctx, r.sink, warm*r.Users, func() error { return r.w.publish(ctx, warm) }); err != nil {
		return err
	}
	bare := newBareLoop([]string{r.sink.url}, r.Concurrency)
	defer bare.close()
	round := func() error {
		sample, err := burst(ctx, r.sink, r.pokes(), func() error { return bare.post(ctx, r.pokes()) })
		r.report.Bare = append(r.report.Bare, sample)
		r.progress("bare loop: %.0f/s", sample.Rate)
		return err
	}
	if err := round(); err != nil {
		return err
	}
	if err := r.killed(ctx); err != nil {
		return err
	}
	return round()
}

// warmEvents open files and connections before the measurement.
const warmEvents = 100

// pokes returns the number of pokes that the events cause.
func (r *recoveryRun) pokes() int { return r.Events * r.Users }

// killed publishes all events, kills and restarts the dispatcher after half of them, and
// waits for the pokes.
func (r *recoveryRun) killed(ctx context.Context) error {
	watch := &recoveryWatch{recoveryRun: r, acks: newAcks(), half: make(chan struct{})}
	group, both := errgroup.WithContext(ctx)
	group.Go(func() error { return watch.publish(both) })
	group.Go(func() error { return watch.kill(both) })
	if err := group.Wait(); err != nil {
		return err
	}
	seen, err := r.sink.report(ctx)
	if err != nil {
		return err
	}
	r.report.conclude(watch.samples, seen, r.pokes())
	return nil
}
