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
	slices.Sort(values)
	return values[len(values)/2]
}

// meanOf returns the mean of one value of the samples.
func meanOf(samples []burstSample, figure func(burstSample) float64) float64 {
	values := make([]float64, 0, len(samples))
	for _, s := range samples {
		values = append(values, figure(s))
	}
	return mean(values)
}

// ratio returns the median over the rounds of poked's rate divided by the bare loop's.
func (r throughputResult) ratio() float64 {
	ratios := make([]float64, 0, len(r.Whole))
	for i := range r.Whole {
		ratios = append(ratios, r.Whole[i].Rate/r.Bare[i].Rate)
	}
	slices.Sort(ratios)
	return ratios[len(ratios)/2]
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
		row("poked", r.Whole, r.ratio(), r.WholeLatency)
		row("bare", r.Bare, 1, r.BareLatency)
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("print result: %w", err)
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
