package bench

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// latencyGoal is the goal for p99 with a bad gateway divided by p99 without.
const latencyGoal = 1.2

// isolationReport is the result of "pokelab bench isolation".
type isolationReport struct {
	Pokes     int          `json:"pokes_per_round"`
	Rounds    []lightRound `json:"rounds"`
	Busy      int          `json:"busy_processes"`
	Disturbed []lightRound `json:"rounds_beside_busy,omitempty"` // each directly after the same round without
}

// lightRound is a round of one kind.
type lightRound struct {
	How string `json:"kind"`
	gatewaysReport
}

// roundsOf returns the rounds of one kind.
func roundsOf(rounds []lightRound, how string) (some []gatewaysReport) {
	for _, r := range rounds {
		if r.How == how {
			some = append(some, r.gatewaysReport)
		}
	}
	return some
}

// middle returns the median of one latency over the rounds.
func middle(rounds []gatewaysReport, figure func(gatewaysReport) time.Duration) time.Duration {
	values := make([]time.Duration, 0, len(rounds))
	for _, r := range rounds {
		values = append(values, figure(r))
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// Print prints the report as text.
func (b *isolationReport) Print(out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(table, format+"\n", args...) } // Flush returns the error
	line("gateways\tp50\tp99\tmax\tp99 ratio\tto bare\thung\trefused\tlost\ttwice\t")
	writeRounds(line, b.Rounds, "")
	if b.Busy > 0 {
		writeRounds(line, b.Disturbed, fmt.Sprintf(", beside %d", b.Busy))
	}
	line("")
	line("goal: p99 ratio at most %.1f", latencyGoal)
	for _, how := range lightKinds() {
		if b.Busy > 0 {
			line("%s: p99 beside %d busy processes divided by that without them, each round: %.2f", nameOf(how), b.Busy, b.disturbed(how))
		}
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("print result: %w", err)
	}
	return nil
}

// nameOf returns the name of a kind of rounds.
func nameOf(how string) string {
	return map[string]string{
		behaveWell: "none misbehaves", behaveBare: "bare loop", behaveHang: "one hangs", behaveFail: "1 % of answers fail",
	}[how]
}

func p99Of(r gatewaysReport) time.Duration { return r.P99 }

func writeRounds(line func(string, ...any), rounds []lightRound, beside string) {
	well, bare := float64(middle(roundsOf(rounds, behaveWell), p99Of)), float64(middle(roundsOf(rounds, behaveBare), p99Of))
	for _, how := range lightKinds() {
		some := roundsOf(rounds, how)
		var sum gatewaysReport
		for _, r := range some {
			sum.Hung, sum.Refused = sum.Hung+r.Hung, sum.Refused+r.Refused
			sum.Lost, sum.Duplicates = sum.Lost+r.Lost, sum.Duplicates+r.Duplicates
		}
		p99 := float64(middle(some, p99Of))
		line("%s%s\t%s\t%s\t%s\t%.2f\t%.2f\t%d\t%d\t%d\t%d\t", nameOf(how), beside,
			brief(middle(some, func(r gatewaysReport) time.Duration { return r.P50 })), brief(middle(some, p99Of)),
			brief(middle(some, func(r gatewaysReport) time.Duration { return r.Max })),
			p99/well, p99/bare, sum.Hung, sum.Refused, sum.Lost, sum.Duplicates)
	}
}

// disturbed returns, for each round of a kind, p99 beside busy processes divided by p99
// without them.
func (b *isolationReport) disturbed(how string) (each []float64) {
	quiet := roundsOf(b.Rounds, how)
	for i, r := range roundsOf(b.Disturbed, how) {
		each = append(each, float64(r.P99)/float64(quiet[i].P99))
	}
	return each
}

// verdict returns an error if a poke was lost or arrived twice.
func (b *isolationReport) verdict() error {
	lost, twice := 0, 0
	for _, r := range slices.Concat(b.Rounds, b.Disturbed) {
		lost, twice = lost+r.Lost, twice+r.Duplicates
	}
	if lost+twice > 0 {
		return fmt.Errorf("%d pokes lost, %d twice", lost, twice)
	}
	return nil
}
