package bench

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// throughputReport is the result of "pokelab bench throughput".
type throughputReport struct {
	Results []throughputResult `json:"results"`
}

// throughputResult is the result for one fan-out: a sample of each side per round.
type throughputResult struct {
	Fanout       int           `json:"fanout"`
	Pokes        int           `json:"pokes_per_round"`
	Concurrency  int           `json:"concurrency"`
	Whole        []burstSample `json:"poked"`
	Bare         []burstSample `json:"bare"`
	Busy         int           `json:"busy_processes"`
	BusyWhole    []burstSample `json:"poked_beside_busy,omitempty"`
	BusyBare     []burstSample `json:"bare_beside_busy,omitempty"`
	WholeLatency sinkReport    `json:"poked_latency_ns"`
	BareLatency  sinkReport    `json:"bare_latency_ns"`
	Lost         int           `json:"lost"`
	Duplicates   int           `json:"duplicates"`
}

// median returns the median of one value of the samples.
func median(samples []burstSample, figure func(burstSample) float64) float64 {
	values := make([]float64, 0, len(samples))
	for _, s := range samples {
		values = append(values, figure(s))
	}
	return middleOf(values)
}

// meanOf returns the mean of one value of the samples.
func meanOf(samples []burstSample, figure func(burstSample) float64) float64 {
	values := make([]float64, 0, len(samples))
	for _, s := range samples {
		values = append(values, figure(s))
	}
	return mean(values)
}

// busyGoal is the least ratio to the bare loop beside busy processes, divided by the ratio
// without them, of any round.
const busyGoal = 0.85

// ratios returns, for each round, poked's rate divided by the bare loop's.
func ratios(whole, bare []burstSample) []float64 {
	each := make([]float64, 0, len(whole))
	for i := range whole {
		each = append(each, whole[i].Rate/bare[i].Rate)
	}
	return each
}

// middleOf returns the median.
func middleOf(values []float64) float64 {
	return slices.Sorted(slices.Values(values))[len(values)/2]
}

// disturbed returns, for each round, the ratio beside busy processes divided by the one
// without them.
func (r throughputResult) disturbed() []float64 {
	quiet := ratios(r.Whole, r.Bare)
	each := ratios(r.BusyWhole, r.BusyBare)
	for i := range each {
		each[i] /= quiet[i]
	}
	return each
}

func (b throughputReport) Print(out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(table, format+"\t\n", args...) } // Flush returns the error
	line("fan-out\t\tpokes/s\tratio\tCPU µs/poke\tallocs/poke\tp50\tp99\tmax\tlost\ttwice")
	for _, r := range b.Results {
		row := func(name string, samples []burstSample, ratio float64, latency sinkReport) {
			line("%d\t%s\t%.0f\t%.2f\t%.1f\t%.1f\t%s\t%s\t%s\t%d\t%d", r.Fanout, name,
				median(samples, func(s burstSample) float64 { return s.Rate }), ratio,
				median(samples, func(s burstSample) float64 { return s.CPU }),
				median(samples, func(s burstSample) float64 { return s.Allocs }),
				brief(latency.P50), brief(latency.P99), brief(latency.Max), r.Lost, r.Duplicates)
		}
		row("poked", r.Whole, middleOf(ratios(r.Whole, r.Bare)), r.WholeLatency)
		row("bare", r.Bare, 1, r.BareLatency)
		if r.Busy > 0 {
			row(fmt.Sprintf("poked beside %d", r.Busy), r.BusyWhole, middleOf(ratios(r.BusyWhole, r.BusyBare)), sinkReport{})
			row(fmt.Sprintf("bare beside %d", r.Busy), r.BusyBare, 1, sinkReport{})
		}
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("print result: %w", err)
	}
	for _, r := range b.Results {
		if r.Busy == 0 {
			continue
		}
		each := r.disturbed()
		if _, err := fmt.Fprintf(out, "fan-out %d beside %d busy processes: ratio divided by that without them, each round: %.2f; the least %.2f, goal at least %.2f\n",
			r.Fanout, r.Busy, each, slices.Min(each), busyGoal); err != nil {
			return fmt.Errorf("print result: %w", err)
		}
	}
	return nil
}

func brief(d time.Duration) string { return d.Round(10 * time.Microsecond).String() }

// verdict returns an error if a poke was lost or arrived twice.
func (b throughputReport) verdict() error {
	lost, twice := 0, 0
	for _, r := range b.Results {
		lost, twice = lost+r.Lost, twice+r.Duplicates
	}
	if lost+twice > 0 {
		return fmt.Errorf("%d pokes lost, %d twice", lost, twice)
	}
	return nil
}
