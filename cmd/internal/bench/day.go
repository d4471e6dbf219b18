package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"

	"poked/cmd/internal/node"
	"poked/cmd/internal/terminal"
)

// dayCmd is "pokelab bench day": the cost of a notification with everything that comes with
// it on a realistic day.
//
//	this process                 separate processes
//	events, receipts, ─▶ NATS, files ─▶ dispatcher ─▶ sink
//	redactions                                    └─▶ gateway that answers 503: its pushers lag
//
// What is outstanding is bounded, so nothing is read or redacted before it was delivered
// and every poke of a healthy gateway must arrive.
type dayCmd struct {
	Users       int            `name:"users" default:"20000" env:"POKED_BENCH_USERS" help:"Users with a pusher each."`
	Fanout      int            `name:"fanout" default:"5" env:"POKED_BENCH_FANOUT" help:"Users in a room, all of whom an event notifies."`
	RoomsEach   int            `name:"rooms-each" default:"3" env:"POKED_BENCH_ROOMS_EACH" help:"Rooms of each user."`
	Events      int            `name:"events" default:"8000" env:"POKED_BENCH_EVENTS" help:"Room events, in random rooms. A quarter as many come before, to warm up."`
	Rate        float64        `name:"rate" default:"0" env:"POKED_BENCH_RATE" help:"Room events per second at most; 0 is as fast as it goes."`
	Receipts    float64        `name:"receipts" default:"0.5" env:"POKED_BENCH_RECEIPTS" help:"Receipts per notification."`
	ReadWithin  int            `name:"read-within" default:"20000" env:"POKED_BENCH_READ_WITHIN" help:"A receipt comes at most this many notifications after its own."`
	Redactions  float64        `name:"redactions" default:"0.005" env:"POKED_BENCH_REDACTIONS" help:"Redactions per event."`
	Lagging     int            `name:"lagging" default:"2" env:"POKED_BENCH_LAGGING" help:"Percentage of users whose gateway is down; they send no receipts."`
	Concurrency int            `name:"concurrency" default:"64" env:"POKED_BENCH_CONCURRENCY" help:"Requests in flight, on each side."`
	Fsync       node.FsyncFlag `name:"fsync" default:"1s" env:"POKED_FSYNC" help:"How often NATS syncs to disk: always, or an interval."`
	Profile     string         `name:"profile" placeholder:"FILE" env:"POKED_BENCH_PROFILE" help:"Write a CPU profile of NATS."`
	JSON        bool           `name:"json" env:"POKED_JSON" help:"Print the result as a JSON object."`
}

// Help is shown by kong under the command's summary.
func (dayCmd) Help() string {
	return "CPU per notification is that of NATS and that of the dispatcher, each a separate process. Of the dispatcher's, that of a " +
		"bare net/http loop that posts the same bodies in the same run is subtracted for each poke. A part of NATS's is spent on what " +
		"the homeserver publishes, whatever poked does: it is measured first, in a room where nobody has a pusher. Messages and bytes " +
		"are those of all streams and buckets but ROOMS and ROOM_STATE. In the end the gateway that was down works again, and its " +
		"pushers catch up, which is not part of the day. Exit code 1 if a poke was lost or arrived twice."
}

// Validate is called by kong.
func (c dayCmd) Validate() error {
	switch {
	case c.Users < 1, c.Fanout < 1, c.Users%c.Fanout != 0, c.RoomsEach < 1, c.Concurrency < 1:
		return errors.New("--users must be a multiple of --fanout, and these, --rooms-each and --concurrency at least 1")
	case c.Events < 4, c.ReadWithin < 100:
		return errors.New("--events must be at least 4 and --read-within at least 100")
	case !(c.Rate >= 0), !(c.Receipts >= 0 && c.Receipts <= 1), !(c.Redactions >= 0 && c.Redactions <= 1), c.Lagging < 0, c.Lagging > 99:
		return errors.New("--rate must not be negative, --receipts and --redactions must be 0 to 1, --lagging 0 to 99")
	}
	return nil
}

// dayRun is one run of the benchmark.
type dayRun struct {
	dayCmd
	deployment

	down     *gatewaysProcess
	home     *homeserver
	progress func(format string, args ...any)
	report   dayReport
}

// Run measures and prints a report.
func (c dayCmd) Run(ctx context.Context, std terminal.Streams) (err error) {
	r := &dayRun{dayCmd: c, progress: progressTo(std)}
	err = r.start(ctx, std)
	if err == nil {
		err = r.measure(ctx)
	}
	if err := errors.Join(err, r.stop()); err != nil {
		return err
	}
	if err := terminal.PrintReport(std.Out, &r.report, c.JSON); err != nil {
		return err
	}
	return r.report.verdict()
}

// start starts the processes, except for the dispatcher.
func (r *dayRun) start(ctx context.Context, std terminal.Streams) (err error) {
	if r.sink, err = startSink(ctx, "bench-sink"); err != nil {
		return err
	}
	if r.down, err = startGateways(ctx, 1, 0); err != nil {
		return err
	}
	if err := r.down.behave(ctx, behaveDown); err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(std.Err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	r.progress("%d users in %d rooms of %d", r.Users, r.Users/r.Fanout*r.RoomsEach, r.Fanout)
	if r.w, err = newWorld(ctx, worldOptions{
		groups: r.Users / r.Fanout, fanout: r.Fanout, roomsEach: r.RoomsEach, fsync: r.Fsync, outside: true, separate: true, profile: r.Profile,
		gateways: slices.Concat(slices.Repeat([]string{r.sink.url}, 100-r.Lagging), slices.Repeat(r.down.urls, r.Lagging)),
	}, log); err != nil {
		return err
	}
	r.home = newHomeserver(r)
	return nil
}

// startDispatcher starts the dispatcher, and returns when it has read the rooms.
func (r *dayRun) startDispatcher(ctx context.Context) (err error) {
	slots := strconv.Itoa(r.Concurrency)
	if r.d, err = r.w.watchedDispatcher(ctx, "--slots", slots, "--gateway-slots", slots, "--open-rooms", strconv.Itoa(2*len(r.w.rooms))); err != nil {
		return err
	}
	return r.d.untilIdle(ctx, r.progress, false)
}

// stop ends the processes that run.
func (r *dayRun) stop() error {
	err := r.deployment.stop()
	if r.down != nil {
		r.down.stop()
	}
	return err
}

// measure runs the day, between two rounds of the bare loop.
func (r *dayRun) measure(ctx context.Context) error {
	r.report = dayReport{Events: r.Events, Fanout: r.Fanout, Users: r.Users}
	bare := newBareLoop([]string{r.sink.url}, r.Concurrency)
	defer bare.close()
	pokes := r.Events * r.Fanout
	bareRound := func(ctx context.Context) error {
		sample, err := burst(ctx, r.sink, pokes, func() error { return bare.post(ctx, pokes) })
		r.report.Bare = append(r.report.Bare, sample)
		r.progress("bare loop: %.0f/s", sample.Rate)
		return err
	}
	warm := func(ctx context.Context) error {
		r.progress("warming up with %d events", r.Events/4)
		return r.home.live(ctx, r.Events/4)
	}
	return inTurn(ctx, []step{r.publishAlone, r.startDispatcher, bareRound, warm, r.day, bareRound, r.recover})
}

// publishAlone measures what the homeserver's writes cost NATS.
func (r *dayRun) publishAlone(ctx context.Context) error {
	n := max(r.Events/4, 1)
	before := r.w.apart.cpu()
	if err := r.home.alone(ctx, n); err != nil {
		return fmt.Errorf("publish alone: %w", err)
	}
	r.report.HomeCPU = cpuEach(r.w.apart.cpu()-before, n*r.Fanout)
	return nil
}
