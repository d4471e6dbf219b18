// Package chaos is "pokelab chaos": it runs a whole deployment in processes of their own,
// breaks it in every way, heals it, and checks from the whole history that every guarantee
// held. calm.go heals, check.go and the files beside it judge, the others run and break.
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
	"poked/events/wait"
)

// Commands are the subcommands of a program that makes chaos: the one that is asked for,
// and the NATS server that it runs as a process of its own.
type Commands struct {
	Chaos Cmd     `cmd:"" help:"Break a whole deployment in every way, and check that it kept what it promises."`
	NATS  natsCmd `cmd:"" name:"chaos-nats" hidden:"" help:"A NATS server of a run of chaos."`
}

// Cmd is "pokelab chaos": a deployment whose parts die, stand still and lose
// one another while it works, and the proof from its whole history that it kept
// what it promises.
//
//	seed ─▶ cast, schedule
//	          │ faults, in tracks side by side        │ what is said, receipts, redactions
//	          ▼                                       ▼
//	        world: 3 NATS, registry, 3 dispatchers, gateways that record
//	          │ heal, wait until all is told, say one last thing in each room
//	          ▼
//	        history ─▶ checker ◀─ model ─▶ report
type Cmd struct {
	Seed       uint64        `name:"seed" env:"POKED_CHAOS_SEED" help:"What chance begins with; 0 chooses one. The same seed makes the same people and the same schedule, but not the same run."`
	For        time.Duration `name:"for" default:"60s" env:"POKED_CHAOS_FOR" help:"How long things go wrong."`
	Rate       float64       `name:"rate" default:"20" env:"POKED_CHAOS_RATE" help:"Room events and receipts a second, meanwhile."`
	Partitions int           `name:"partitions" default:"8" env:"POKED_PARTITIONS" help:"Partitions of the streams, at least 2."`
	Patience   time.Duration `name:"patience" default:"3m" env:"POKED_CHAOS_PATIENCE" help:"How long after the last fault everything may take to be told."`
	Only       []string      `name:"only" env:"POKED_CHAOS_ONLY" placeholder:"TRACK" help:"What goes wrong: dispatcher, nats, registry, link, gateway. All of it unless told otherwise."`
	Keep       bool          `name:"keep" env:"POKED_CHAOS_KEEP" help:"Keep log lines and history also if all is well."`
	JSON       bool          `name:"json" env:"POKED_JSON" help:"Print the result as one JSON object."`
}

// Help says what it does and what it checks.
func (Cmd) Help() string {
	return "Starts three NATS servers, a registry, three dispatchers and push gateways on this machine. While room events are published, " +
		"dispatchers, NATS servers and the registry are killed, paused and started again, connections are cut and stalled, and gateways " +
		"fail. Then all is healed, and the whole history is checked: every event that was acknowledged was told to every pusher of " +
		"everybody it notifies, in order, with the right badge, and again only if nobody could know the outcome; every partition is " +
		"worked. Exit code 1 if not: then log lines and the history are kept, and it says where."
}

// Validate refuses what makes no sense.
func (c Cmd) Validate() error {
	if c.Partitions < 2 || c.For <= 0 || c.Rate <= 0 || c.Patience <= 0 {
		return errors.New("--partitions must be at least 2, --for, --rate and --patience positive")
	}
	_, err := c.tracks()
	return err
}

// tracks returns what is to go wrong.
func (c Cmd) tracks() ([]track, error) {
	if len(c.Only) == 0 {
		return allTracks(), nil
	}
	known := map[string]track{}
	for _, t := range allTracks() {
		known[t.name] = t
	}
	var chosen []track
	for _, name := range c.Only {
		t, ok := known[name]
		if !ok {
			return nil, errors.New("--only takes dispatcher, nats, registry, link and gateway")
		}
		chosen = append(chosen, t)
	}
	return chosen, nil
}

// Run makes chaos, checks and reports.
func (c Cmd) Run(ctx context.Context, std terminal.Streams) (err error) {
	if c.Seed == 0 {
		c.Seed = uint64(rand.Uint32()) //nolint:gosec // luck needs no secrecy
	}
	dir, err := os.MkdirTemp("", "poked-chaos-")
	if err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	r := &run{Cmd: c, began: time.Now(), std: std}
	r.progress("seed %d", c.Seed)
	history, err := r.make(ctx, dir)
	if err != nil {
		return fmt.Errorf("run with seed %d (its log lines are kept in %s): %w", c.Seed, dir, err)
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
	r.progress("log lines and history are kept in %s", dir)
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
	// There is nobody left to tell if this cannot be written.
	_, _ = fmt.Fprintf(r.std.Err, "%7.2f  %s\n", time.Since(r.began).Seconds(), fmt.Sprintf(format, args...))
}

// make makes the whole history.
func (r *run) make(ctx context.Context, dir string) (h *history, err error) {
	luck := rand.New(rand.NewPCG(r.Seed, 0)) //nolint:gosec // luck needs no secrecy
	cast := newCast(r.Partitions, gatewayCount, luck)
	r.progress("%d users in %d rooms, %d partitions; starting nats, a registry and dispatchers", len(cast.users), len(cast.rooms), r.Partitions)
	w, err := newWorld(ctx, dir, r.Partitions, cast)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	if err := r.settleIn(ctx, w); err != nil {
		return nil, err
	}
	h = &history{cast: cast, model: model{}}
	if h.Faults, err = r.rage(ctx, w); err != nil {
		return nil, err
	}
	h.Healed = r.healed
	if err := r.calm(ctx, w, h); err != nil {
		return nil, err
	}
	h.Pokes, h.acks = w.rec.history(), w.home.history()
	h.Messages, h.Receipts, h.Redactions = w.home.uttered[isMessage].Load(), w.home.uttered[isReceipt].Load(), w.home.uttered[isRedaction].Load()
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

// rage has everything go wrong while something happens in every room, and
// returns the faults once the last of them is over.
func (r *run) rage(ctx context.Context, w *world) ([]happened, error) {
	tracks, err := r.tracks()
	if err != nil {
		return nil, err
	}
	chatting, quiet := context.WithCancel(ctx)
	defer quiet()
	var side errgroup.Group
	side.Go(func() error { return w.home.chatter(chatting, ctx, w.cast, r.Rate, r.Seed) })
	side.Go(func() error { return r.comeLate(ctx, w) })

	faults := make([][]happened, len(tracks))
	var group errgroup.Group
	for n, t := range tracks {
		group.Go(func() (err error) {
			faults[n], err = r.follow(ctx, w, t)
			return err
		})
	}
	err = group.Wait()
	quiet()
	r.healed = time.Now()
	r.progress("the last fault is over")
	var all []happened
	for _, f := range faults {
		all = append(all, f...)
	}
	return all, errors.Join(err, side.Wait())
}

// follow has the faults of one track happen, one after the other.
func (r *run) follow(ctx context.Context, w *world, t track) ([]happened, error) {
	var all []happened
	for _, f := range t.schedule(r.Seed, r.For) {
		if err := wait.For(ctx, f.After); err != nil {
			return all, err
		}
		h, err := w.inflict(ctx, f, r.progress)
		all = append(all, h)
		if err != nil {
			return all, err
		}
	}
	return all, nil
}

// comeLate sets the pushers of those who come late, spread over the time.
func (r *run) comeLate(ctx context.Context, w *world) error {
	group, ctx := errgroup.WithContext(ctx)
	step := r.For / time.Duration(lateEach*r.Partitions+1)
	after := time.Duration(0)
	for _, u := range w.cast.users {
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
