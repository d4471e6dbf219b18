package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"poked/cmd/internal/node"
	"poked/cmd/internal/terminal"
	"poked/events/owner"
	"poked/events/stream"
)

// soakCmd is "pokelab bench soak": a long time in minutes. Rooms are read continuously, and the
// log and the room events go by age, here by how many came since. Everything that poked keeps
// is replaced many times over, as in weeks of operation.
//
//	this process                 separate processes
//	events, receipts,  ─▶ NATS, files ─▶ dispatcher ─▶ sink
//	redactions, trimming
//	     └─ after a quarter of the rounds and after the last: a new dispatcher is asked for inboxes
type soakCmd struct {
	Rounds      int            `name:"rounds" default:"20" env:"POKED_BENCH_ROUNDS" help:"Rounds, after each of which the oldest events and notifications are removed."`
	Events      int            `name:"events" default:"4000" env:"POKED_BENCH_EVENTS" help:"Room events of a round, in random rooms."`
	Keep        int            `name:"keep-events" default:"6000" env:"POKED_BENCH_KEEP_EVENTS" help:"Room events that are kept, about, with what belongs to them; only the newer half of them is redacted."`
	Users       int            `name:"users" default:"5000" env:"POKED_BENCH_USERS" help:"Users with a pusher each."`
	Fanout      int            `name:"fanout" default:"5" env:"POKED_BENCH_FANOUT" help:"Users in a room, all of whom an event notifies."`
	RoomsEach   int            `name:"rooms-each" default:"3" env:"POKED_BENCH_ROOMS_EACH" help:"Rooms of each user."`
	Receipts    float64        `name:"receipts" default:"0.5" env:"POKED_BENCH_RECEIPTS" help:"Receipts per notification."`
	ReadWithin  int            `name:"read-within" default:"5000" env:"POKED_BENCH_READ_WITHIN" help:"A receipt comes at most this many notifications after its own."`
	Reads       int            `name:"reads" default:"400" env:"POKED_BENCH_READS" help:"Users whose notifications are read, at the beginning and at the end."`
	Concurrency int            `name:"concurrency" default:"64" env:"POKED_BENCH_CONCURRENCY" help:"Requests in flight, on each side."`
	Fsync       node.FsyncFlag `name:"fsync" default:"1s" env:"POKED_FSYNC" help:"How often NATS syncs to disk: always, or an interval."`
	JSON        bool           `name:"json" env:"POKED_JSON" help:"Print the result as a JSON object."`
}

// Help is shown by kong under the command's summary.
func (soakCmd) Help() string {
	return "After a quarter of the rounds, when streams and buckets are full, and after the last a dispatcher that has nothing in memory is asked for the notifications of users, one " +
		"after the other: the first read of each. Compare the latencies and the memory of NATS of the two: what grows is a leak, or " +
		"a cost that grows with the age of a stream. Exit code 1 if a poke was lost or arrived twice."
}

// Validate is called by kong.
func (c soakCmd) Validate() error {
	if c.Rounds < 2 || c.Reads < 1 || c.Reads > c.Users {
		return errors.New("--rounds must be at least 2, --reads at least 1 and at most --users")
	}
	if err := c.day().Validate(); err != nil {
		return err
	}
	if least := 2 * c.ReadWithin / c.Fanout; c.Keep < least {
		return fmt.Errorf("--keep-events must be at least %d, or what is read is gone before", least)
	}
	return nil
}

// day returns the day that one round is.
func (c soakCmd) day() dayCmd {
	return dayCmd{
		Users: c.Users, Fanout: c.Fanout, RoomsEach: c.RoomsEach, Events: c.Events, Receipts: c.Receipts, ReadWithin: c.ReadWithin,
		Redactions: 0.005, Concurrency: c.Concurrency, Fsync: c.Fsync,
	}
}

// soakRun is one run of the benchmark.
type soakRun struct {
	soakCmd
	*dayRun

	report soakReport
}

// Run measures and prints a report.
func (c soakCmd) Run(ctx context.Context, std terminal.Streams) error {
	r := &soakRun{soakCmd: c, dayRun: &dayRun{dayCmd: c.day(), progress: progressTo(std)}}
	r.report = soakReport{Rounds: c.Rounds, Notifications: c.Rounds * c.Events * c.Fanout}
	err := r.start(ctx, std)
	if err == nil {
		err = r.measure(ctx)
	}
	if err := errors.Join(err, r.stop()); err != nil {
		return err
	}
	r.report.Lost, r.report.Duplicates = r.dayRun.report.Lost, r.dayRun.report.Duplicates
	if err := terminal.PrintReport(std.Out, &r.report, c.JSON); err != nil {
		return err
	}
	return r.report.verdict()
}

func (r *soakRun) measure(ctx context.Context) error {
	if err := r.startDispatcher(ctx); err != nil {
		return err
	}
	for round := range r.Rounds {
		began := time.Now()
		if err := r.home.live(ctx, r.Events); err != nil {
			return err
		}
		r.report.Rates = append(r.report.Rates, perSecond(float64(r.Events*r.Fanout), time.Since(began)))
		if err := r.w.conn.TrimLogs(ctx, uint64(r.Keep*(1+r.Fanout))); err != nil { //nolint:gosec // it is not negative
			return err
		}
		r.home.oldest = max(len(r.home.said)-r.Keep/2, 0)
		r.progress("round %d of %d: %.0f notifications/s", round+1, r.Rounds, r.report.Rates[round])
		if round != (r.Rounds-1)/4 && round != r.Rounds-1 {
			continue
		}
		state, err := r.look(ctx)
		if err != nil {
			return err
		}
		r.report.States = append(r.report.States, state)
	}
	return nil
}

// look starts a new dispatcher, reads the notifications of users, and measures.
func (r *soakRun) look(ctx context.Context) (s soakState, err error) {
	if err := r.d.Stop(); err != nil {
		return s, fmt.Errorf("stop dispatcher: %w", err)
	}
	if err := r.startDispatcher(ctx); err != nil {
		return s, err
	}
	var took []time.Duration
	step := r.Users / r.Reads
	for n := range r.Reads {
		user := n * step
		began := time.Now()
		page, _, err := owner.NewClient(r.w.conn).ListNotifications(ctx, owner.ListQuery{
			User: r.w.member(user/r.Fanout, user%r.Fanout), Limit: soakPage,
		})
		if err != nil {
			return s, fmt.Errorf("read notifications: %w", err)
		}
		took = append(took, time.Since(began))
		s.Listed += len(page)
	}
	slices.Sort(took)
	s.P50, s.P99, s.Longest = took[len(took)/2], took[len(took)*99/100], took[len(took)-1]
	s.NATS = r.w.apart.resident()
	s.Streams, err = r.w.conn.AskStreams(ctx)
	return s, err
}

// soakPage is how many notifications of a user are asked for.
const soakPage = 20

// soakState is what is measured at the beginning and at the end.
type soakState struct {
	P50     time.Duration   `json:"first_read_p50_ns"`
	P99     time.Duration   `json:"first_read_p99_ns"`
	Longest time.Duration   `json:"first_read_longest_ns"`
	Listed  int             `json:"listed"` // notifications
	NATS    int64           `json:"nats_rss"`
	Streams []stream.Status `json:"streams"`
}

// soakReport is the result of "pokelab bench soak".
type soakReport struct {
	Rounds        int         `json:"rounds"`
	Notifications int         `json:"notifications"`
	Rates         []float64   `json:"notifications_per_second"` // of each round
	States        []soakState `json:"states"`                   // after a quarter of the rounds and after the last
	Lost          int         `json:"lost"`
	Duplicates    int         `json:"duplicates"`
}

// Print prints the report as text.
func (r *soakReport) Print(out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	line := func(name, format string, args ...any) { _, _ = fmt.Fprintf(table, name+"\t"+format+"\n", args...) } // Flush returns the error
	first, last := r.States[0], r.States[len(r.States)-1]
	both := func(name string, a, b float64, unit string) {
		line(name, "%.1f\t%.1f\t%s\tratio %.2f", a, b, unit, b/max(a, 1e-9))
	}
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	line("soak", "%d rounds, %d notifications", r.Rounds, r.Notifications)
	line("", "begin\tend\t\t")
	both("first read, p50", ms(first.P50), ms(last.P50), "ms")
	both("first read, p99", ms(first.P99), ms(last.P99), "ms")
	both("first read, longest", ms(first.Longest), ms(last.Longest), "ms")
	both("notifications listed", float64(first.Listed), float64(last.Listed), "")
	both("memory of NATS", float64(first.NATS)/(1<<20), float64(last.NATS)/(1<<20), "MiB")
	both("rate, first and last round", r.Rates[0], r.Rates[len(r.Rates)-1], "notifications/s")
	then := map[string]stream.Status{}
	for _, s := range first.Streams {
		then[s.Name] = s
	}
	for _, s := range last.Streams {
		if b := then[s.Name]; s.Messages > 0 || b.Messages > 0 {
			both("  "+s.Name, float64(b.Messages), float64(s.Messages), "messages")
			both("", float64(b.Bytes)/(1<<20), float64(s.Bytes)/(1<<20), "MiB")
		}
	}
	line("lost", "%d, twice %d", r.Lost, r.Duplicates)
	if err := table.Flush(); err != nil {
		return fmt.Errorf("print result: %w", err)
	}
	return nil
}

// verdict returns an error if a poke was lost or arrived twice.
func (r *soakReport) verdict() error {
	if r.Lost != 0 || r.Duplicates > 0 {
		return fmt.Errorf("%d pokes lost, %d twice", r.Lost, r.Duplicates)
	}
	return nil
}
