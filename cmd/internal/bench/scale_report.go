package bench

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// scaleReport is the result of "pokelab bench scale".
type scaleReport struct {
	Fanout  int           `json:"fanout"`
	Pokes   int           `json:"pokes_per_round"`
	Results []scaleResult `json:"results"`
}

// scaleResult is the result for one number of dispatchers: a sample per round.
type scaleResult struct {
	Dispatchers int           `json:"dispatchers"`
	Samples     []scaleSample `json:"samples"`
	Lost        int           `json:"lost"`
	Duplicates  int           `json:"duplicates"`
}

func newScaleReport(c scaleCmd) *scaleReport {
	r := &scaleReport{Fanout: c.Fanout, Pokes: c.Pokes / c.Fanout * c.Fanout}
	for _, n := range c.Dispatchers {
		r.Results = append(r.Results, scaleResult{Dispatchers: n})
	}
	return r
}

func (r *scaleResult) add(s scaleSample) {
	r.Samples = append(r.Samples, s)
	r.Lost += s.Lost
	r.Duplicates += s.Duplicates
}

// median returns the median of one value of the samples.
func (r *scaleResult) median(figure func(scaleSample) float64) float64 {
	samples := make([]burstSample, 0, len(r.Samples))
	for _, s := range r.Samples {
		samples = append(samples, burstSample{Rate: figure(s)})
	}
	return median(samples, func(s burstSample) float64 { return s.Rate })
}

// shares returns the median shares in percent, from the busiest dispatcher to the least
// busy one.
func (r *scaleResult) shares() string {
	var all []string
	for n := range r.Dispatchers {
		all = append(all, fmt.Sprintf("%.0f", 100*r.median(func(s scaleSample) float64 { return s.Shares[n] })))
	}
	return strings.Join(all, " ")
}

func (r *scaleReport) Print(out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(table, format+"\t\n", args...) } // Flush returns the error
	line("dispatchers\tpokes/s\tCPU µs/poke\tof others\tshares %%\tlost\ttwice")
	for _, result := range r.Results {
		line("%d\t%.0f\t%.1f\t%.1f\t%s\t%d\t%d", result.Dispatchers,
			result.median(func(s scaleSample) float64 { return s.Rate }),
			result.median(func(s scaleSample) float64 { return s.CPU }),
			result.median(func(s scaleSample) float64 { return s.Others }),
			result.shares(), result.Lost, result.Duplicates)
	}
	return table.Flush()
}

// verdict returns an error if a poke was lost or arrived twice.
func (r *scaleReport) verdict() error {
	lost, twice := 0, 0
	for _, result := range r.Results {
		lost, twice = lost+result.Lost, twice+result.Duplicates
	}
	if lost+twice > 0 {
		return fmt.Errorf("%d pokes lost, %d twice", lost, twice)
	}
	return nil
}
