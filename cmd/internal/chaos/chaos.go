// Package chaos is "pokelab chaos": it runs a whole deployment in separate processes,
// injects faults, ends them, and checks the recorded history against every guarantee.
// world.go starts the deployment, schedule.go and faults.go inject faults, recovery.go waits
// for recovery, and check.go, stored.go and repeats.go check the history.
package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"poked/cmd/internal/terminal"
	"poked/events/stream"
	"poked/events/wait"
)

// Commands is the subcommand for chaos runs.
type Commands struct {
	Chaos Cmd `cmd:"" help:"Inject faults into a whole deployment and check every guarantee."`
}

// Cmd is "pokelab chaos": processes of a working deployment are killed, paused and
// disconnected, and the recorded history shows whether every guarantee held.
//
//	seed ─▶ population, schedule
//	          │ faults, in parallel tracks            │ messages, receipts, redactions
//	          ▼                                       ▼
//	        world: 3 NATS, registry (or 2, and PostgreSQL), 3 dispatchers, gateways that record
//	          │ faults end, wait for all pokes, send a last message in each room
//	          ▼
//	        history ─▶ checker ◀─ model ─▶ report
type Cmd struct {
	Seed       uint64        `name:"seed" env:"POKED_CHAOS_SEED" help:"Seed of the random choices; 0 chooses one. The same seed gives the same users and the same schedule of faults, but not the same run."`
	For        time.Duration `name:"for" default:"60s" env:"POKED_CHAOS_FOR" help:"How long faults are injected."`
	Rate       float64       `name:"rate" default:"20" env:"POKED_CHAOS_RATE" help:"Room events and receipts per second meanwhile."`
	KillRate   float64       `name:"kill-rate" default:"200" env:"POKED_CHAOS_KILL_RATE" help:"Room events and receipts per second from a second before a dispatcher or NATS server is killed until it runs again, if that is more than --rate."`
	Partitions int           `name:"partitions" default:"8" env:"POKED_PARTITIONS" help:"Number of partitions, at least 2."`
	Streams    int           `name:"streams" default:"1" env:"POKED_STREAMS" help:"Number of streams that share the partitions, at most as many."`
	Patience   time.Duration `name:"patience" default:"3m" env:"POKED_CHAOS_PATIENCE" help:"Time limit for all deliveries after the last fault."`
	Only       []string      `name:"only" env:"POKED_CHAOS_ONLY" placeholder:"TRACK" help:"Faults to inject: dispatcher, nats, registry, link, gateway, and database with --postgres. All by default."`
	Postgres   bool          `name:"postgres" env:"POKED_CHAOS_POSTGRES" help:"Run two registries on a PostgreSQL database, which is killed and paused as well (track database). PostgreSQL must be installed."`
	Keep       bool          `name:"keep" env:"POKED_CHAOS_KEEP" help:"Keep logs and history even if every check passes."`
	JSON       bool          `name:"json" env:"POKED_JSON" help:"Print the result as a JSON object."`
}

// Help is shown by kong under the command's summary.
func (Cmd) Help() string {
	return "Starts three NATS servers, a registry, three dispatchers and push gateways on this machine. While room events are published, " +
		"it kills, pauses and restarts processes, cuts and stalls connections, and makes gateways fail. Then all faults end, and it " +
		"checks the whole history: every acknowledged event reached every pusher of every user it notifies, in order, with the right " +
		"badge, and a second time only if the outcome of the first was unknown. The summary has how long after each kill it took until every " +
		"partition was delivered again; other faults at the same time count in. Exit code 1 if a check fails: the logs and " +
		"the history are then kept, and their directory is printed."
}

// Validate is called by kong.
func (c Cmd) Validate() error {
	if c.Partitions < 2 || c.For <= 0 || c.Rate <= 0 || c.KillRate <= 0 || c.Patience <= 0 {
		return errors.New("--partitions must be at least 2, --for, --rate, --kill-rate and --patience positive")
	}
	if c.Streams < 1 || c.Streams > min(c.Partitions, stream.MaxStreams) {
		return fmt.Errorf("--streams must be 1 to %d", min(c.Partitions, stream.MaxStreams))
	}
	_, err := c.tracks()
	return err
}

// tracks returns the tracks of faults to inject.
func (c Cmd) tracks() ([]track, error) {
	all := allTracks()
	if c.Postgres {
		all = append(all, databaseTrack())
	}
	if len(c.Only) == 0 {
		return all, nil
	}
	known := map[string]track{}
	for _, t := range all {
		known[t.name] = t
	}
	var chosen []track
	for _, name := range c.Only {
		t, ok := known[name]
		if !ok {
			return nil, errors.New("--only takes dispatcher, nats, registry, link and gateway, and database with --postgres")
		}
		chosen = append(chosen, t)
	}
	return chosen, nil
}

// Run runs the deployment, checks the history and prints a report.
func (c Cmd) Run(ctx context.Context, std terminal.Streams) (err error) {
	if c.Seed == 0 {
		c.Seed = uint64(rand.Uint32()) //nolint:gosec // it needs no secrecy
	}
	dir, err := os.MkdirTemp("", "poked-chaos-")
	if err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	r := &run{Cmd: c, began: time.Now(), std: std}
	r.progress("seed %d", c.Seed)
	history, err := r.make(ctx, dir)
	if err != nil {
		return fmt.Errorf("run with seed %d (its logs are kept in %s): %w", c.Seed, dir, err)
	}
	report := history.check()
	report.Seed, report.For = c.Seed, c.For
	if err := terminal.PrintReport(std.Out, report, c.JSON); err != nil {
		return err
	}
	verdict := report.verdict()
	if verdict == nil && !c.Keep {
		return os.RemoveAll(dir)
	}
	r.progress("the logs and the history are kept in %s", dir)
	return errors.Join(verdict, history.save(filepath.Join(dir, "history.json")))
}

// run is one run.
type run struct {
	Cmd

	began  time.Time
	healed time.Time // when the last fault was over
	std    terminal.Streams
}

func (r *run) progress(format string, args ...any) {
	// A failed write to standard error cannot be reported anywhere.
	_, _ = fmt.Fprintf(r.std.Err, "%7.2f  %s\n", time.Since(r.began).Seconds(), fmt.Sprintf(format, args...))
}

// make runs the deployment and returns the history.
func (r *run) make(ctx context.Context, dir string) (h *history, err error) {
	rng := rand.New(rand.NewPCG(r.Seed, 0)) //nolint:gosec // it needs no secrecy
	people, err := newPopulation(r.Partitions, gatewayCount, rng)
	if err != nil {
		return nil, err
	}
	r.progress("%d users in %d rooms, %d partitions; starting nats, a registry and dispatchers", len(people.users), len(people.rooms), r.Partitions)
	w, err := newWorld(ctx, dir, r.Partitions, r.Streams, people, r.Postgres)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	w.pace.usual, w.pace.hurried = r.Rate, r.KillRate
	if err := r.setUp(ctx, w); err != nil {
		return nil, err
	}
	h = &history{people: people, model: model{}, partitions: r.Partitions}
	if h.Faults, err = r.injectFaults(ctx, w); err != nil {
		return nil, err
	}
	h.Healed = r.healed
	if err := r.awaitRecovery(ctx, w, h); err != nil {
		return nil, err
	}
	h.Pokes, h.acks = w.rec.history(), w.home.history()
	h.Messages, h.Receipts, h.Redactions = w.home.counts[isMessage].Load(), w.home.counts[isReceipt].Load(), w.home.counts[isRedaction].Load()
	h.Unacknowledged = w.home.failed.Load()
	for _, c := range w.children() {
		h.EndedAlone += c.EndedAlone()
	}
	var logs []string
	for _, d := range w.dispatchers {
		logs = append(logs, d.Log)
	}
	if h.logs, err = readLogs(logs); err != nil {
		return nil, err
	}
	return h, errors.Join(h.readDead(ctx, w.conn), h.readStored(ctx, w.conn))
}

// injectFaults injects faults while messages are sent in every room, and returns the faults
// once the last of them is over.
func (r *run) injectFaults(ctx context.Context, w *world) ([]injected, error) {
	tracks, err := r.tracks()
	if err != nil {
		return nil, err
	}
	publishing, stop := context.WithCancel(ctx)
	defer stop()
	var side errgroup.Group
	side.Go(func() error { return w.home.publishEvents(publishing, ctx, w.people, &w.pace, r.Seed) })
	side.Go(func() error { return r.setLatePushers(ctx, w) })

	faults := make([][]injected, len(tracks))
	var group errgroup.Group
	for n, t := range tracks {
		group.Go(func() (err error) {
			faults[n], err = r.follow(ctx, w, t)
			return err
		})
	}
	err = group.Wait()
	stop()
	r.healed = time.Now()
	r.progress("the last fault is over")
	var all []injected
	for _, f := range faults {
		all = append(all, f...)
	}
	return all, errors.Join(err, side.Wait())
}

// follow injects the faults of one track, one after the other.
func (r *run) follow(ctx context.Context, w *world, t track) ([]injected, error) {
	var all []injected
	for _, f := range t.schedule(r.Seed, r.For) {
		if err := wait.For(ctx, f.After); err != nil {
			return all, err
		}
		h, err := w.inject(ctx, f, r.progress)
		all = append(all, h)
		if err != nil {
			return all, err
		}
	}
	return all, nil
}

// setLatePushers sets the pushers of late users, spread over the run.
func (r *run) setLatePushers(ctx context.Context, w *world) error {
	group, ctx := errgroup.WithContext(ctx)
	step := r.For / time.Duration(lateEach*r.Partitions+1)
	after := time.Duration(0)
	for _, u := range w.people.users {
		if !u.late {
			continue
		}
		after += step
		at := after
		group.Go(func() error {
			if err := wait.For(ctx, at); err != nil {
				return err
			}
			return w.setPushers(ctx, u)
		})
	}
	return group.Wait()
}
