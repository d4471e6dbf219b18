package bench

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// The goals.
const (
	unreadCostGoal = 1.15 // CPU per poke with counts divided by that without
)

// unreadReport is the result of "pokelab bench unread".
type unreadReport struct {
	Cost       []unreadCost    `json:"cost"`
	Latency    []unreadLatency `json:"latency"`
	Lost       int             `json:"lost"`
	Duplicates int             `json:"duplicates"`
}

// unreadCost is the cost of pokes at one fan-out: a sample of each side per round.
type unreadCost struct {
	Fanout   int           `json:"fanout"`
	Pokes    int           `json:"pokes_per_round"`
	None     []burstSample `json:"badge_none"`
	Messages []burstSample `json:"badge_messages"`
}

// unreadLatency is the latency for a user with many unread notifications and one with none.
type unreadLatency struct {
	Unread  int          `json:"unread"`
	Events  int          `json:"events_per_round"`
	Reading bool         `json:"receipt_before_each"`
	None    []sinkReport `json:"none_unread_ns"`
	Much    []sinkReport `json:"much_unread_ns"`
}

func (b *unreadReport) count(lost, twice int) {
	b.Lost, b.Duplicates = b.Lost+lost, b.Duplicates+twice
}

// ratio returns the median over the rounds of the CPU time with counts divided by that
// without.
func (u unreadCost) ratio() float64 {
	ratios := make([]float64, 0, len(u.None))
	for i := range u.None {
		ratios = append(ratios, u.Messages[i].CPU/u.None[i].CPU)
	}
	slices.Sort(ratios)
	return ratios[len(ratios)/2]
}

func (b unreadReport) Print(out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(table, format+"\n", args...) } // Flush returns the error
	line("fan-out\tcounts\tCPU µs/poke\tratio\tpokes/s\tallocs/poke\t")
	for _, u := range b.Cost {
		u.write(line)
	}
	line("goal: ratio at most %.2f", unreadCostGoal)
	line("")
	line("receipt before each\tunread\tp50\tratio\tp99\tratio\tmax\t")
	for _, u := range b.Latency {
		u.write(line)
	}
	line("goal: the same with many unread as with none")
	line("%d lost, %d twice", b.Lost, b.Duplicates)
	if err := table.Flush(); err != nil {
		return fmt.Errorf("print result: %w", err)
	}
	return nil
}

func (u unreadCost) write(line func(string, ...any)) {
	row := func(name string, samples []burstSample, ratio float64) {
		line("%d\t%s\t%.1f\t%.2f\t%.0f\t%.1f\t", u.Fanout, name,
			median(samples, func(s burstSample) float64 { return s.CPU }), ratio,
			median(samples, func(s burstSample) float64 { return s.Rate }),
			median(samples, func(s burstSample) float64 { return s.Allocs }))
	}
	row("none", u.None, 1)
	row("messages", u.Messages, u.ratio())
}

func (u unreadLatency) write(line func(string, ...any)) {
	reading := map[bool]string{true: "yes", false: "no"}[u.Reading]
	of := func(rounds []sinkReport, figure func(sinkReport) time.Duration) time.Duration {
		values := make([]time.Duration, 0, len(rounds))
		for _, r := range rounds {
			values = append(values, figure(r))
		}
		slices.Sort(values)
		return values[len(values)/2]
	}
	p50 := func(r sinkReport) time.Duration { return r.P50 }
	p99 := func(r sinkReport) time.Duration { return r.P99 }
	for _, user := range []struct {
		unread int
		rounds []sinkReport
	}{{0, u.None}, {u.Unread, u.Much}} {
		line("%s\t%d\t%s\t%.2f\t%s\t%.2f\t%s\t", reading, user.unread,
			brief(of(user.rounds, p50)), float64(of(user.rounds, p50))/float64(of(u.None, p50)),
			brief(of(user.rounds, p99)), float64(of(user.rounds, p99))/float64(of(u.None, p99)),
			brief(of(user.rounds, func(r sinkReport) time.Duration { return r.Max })))
	}
}

// verdict returns an error if a poke was lost or arrived twice.
func (b unreadReport) verdict() error {
	if b.Lost+b.Duplicates > 0 {
		return fmt.Errorf("%d pokes lost, %d twice", b.Lost, b.Duplicates)
	}
	return nil
}
