package bench

import (
	"fmt"
	"io"
	"math"
	"text/tabwriter"
	"time"
)

// overloadGoal is the least throughput during the overload and after it, divided by the
// maximum during the overload.
const overloadGoal = 0.8

// steady is over how many seconds in a row throughput is averaged for the ratios: a single
// second shows garbage collections and the neighbours of the machine.
const steady = 5

// overloadReport is the result of "pokelab bench overload". Rates are pokes per second.
type overloadReport struct {
	Fanout  int              `json:"fanout"`
	Full    float64          `json:"full_load_per_second"`
	Offered float64          `json:"offered_per_second"`
	Seconds []overloadSecond `json:"seconds"`
	Latest  time.Duration    `json:"latest_ns"` // how late the latest poke was

	Drained   int           `json:"drained"`       // pokes that arrived after the overload
	DrainedIn time.Duration `json:"drained_in_ns"` // from its end to the last of them

	Bare []burstSample `json:"bare"` // before and after

	Published  int `json:"published"` // events
	PassedOver int `json:"passed_over"`
	Lost       int `json:"lost"`
	Duplicates int `json:"duplicates"`

	Unfinished  bool `json:"unfinished"` // the drain took too long
	Undelivered int  `json:"undelivered"`
}

// overloadSecond is what happened in about a second.
type overloadSecond struct {
	At        float64 `json:"at"` // its end, seconds since the beginning of the overload
	Published float64 `json:"published_per_second"`
	Rate      float64 `json:"pokes_per_second"`
	Behind    int     `json:"behind"`
	Drains    bool    `json:"drains"` // it began after the overload

	pokes, published int // so far
}

// overloadFigures are what the seconds of the overload come to. The first second fills the
// pipeline and does not count.
type overloadFigures struct {
	published   float64 // mean
	best        float64 // of steady seconds in a row
	worst       float64 // of the same
	worstSecond float64
}

func (r *overloadReport) figures() (f overloadFigures) {
	var load []overloadSecond
	for i, s := range r.Seconds {
		if i > 0 && !s.Drains {
			load = append(load, s)
		}
	}
	if len(load) == 0 {
		return f
	}
	f.worst, f.worstSecond = math.Inf(1), math.Inf(1)
	for i, s := range load {
		f.published += s.Published / float64(len(load))
		f.worstSecond = min(f.worstSecond, s.Rate)
		if window := load[i:min(i+steady, len(load))]; i == 0 || len(window) == steady {
			sum := 0.0
			for _, s := range window {
				sum += s.Rate
			}
			mean := sum / float64(len(window))
			f.best, f.worst = max(f.best, mean), min(f.worst, mean)
		}
	}
	return f
}

// conclude takes in what the sink has received, of which so much until the overload ended.
func (r *overloadReport) conclude(seen sinkReport, delivered int, ended time.Time) {
	r.Duplicates += seen.Duplicates
	r.Latest = seen.Max
	r.Drained = seen.Received - delivered
	r.DrainedIn = max(time.Unix(0, seen.Last).Sub(ended), 0)
	missing := max(r.Published*r.Fanout-seen.Received-r.PassedOver, 0)
	if r.Unfinished {
		r.Undelivered = missing
	} else {
		r.Lost += missing
	}
}

// Print prints the report as text.
func (r *overloadReport) Print(out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	line := func(name, format string, args ...any) { _, _ = fmt.Fprintf(table, name+"\t"+format+"\n", args...) } // Flush returns the error
	f := r.figures()
	bare := meanOf(r.Bare, func(s burstSample) float64 { return s.Rate })
	line("full load", "%.0f pokes/s at fan-out %d, bare loop %.0f, ratio %.2f", r.Full, r.Fanout, bare, r.Full/bare)
	line("overload", "%.0f/s offered, %.0f/s taken by NATS, %d events", r.Offered, f.published, r.Published)
	line("maximum", "%.0f pokes/s in %d seconds in a row, ratio to the bare loop %.2f", f.best, steady, f.best/bare)
	line("minimum", "%.0f pokes/s in %d seconds in a row, %.2f of the maximum, goal at least %.1f; %.0f in a single second, %.2f",
		f.worst, steady, f.worst/f.best, overloadGoal, f.worstSecond, f.worstSecond/f.best)
	line("drained", "%d pokes in %s, %.0f/s, %.2f of the maximum, goal at least %.1f", r.Drained, brief(r.DrainedIn), r.drain(), r.drain()/f.best, overloadGoal)
	line("latest poke", "%s late", brief(r.Latest))
	line("passed over", "%d", r.PassedOver)
	line("lost", "%d, twice %d, not delivered in time %d", r.Lost, r.Duplicates, r.Undelivered)
	if err := table.Flush(); err != nil {
		return fmt.Errorf("print result: %w", err)
	}
	return nil
}

// drain returns the rate after the overload.
func (r *overloadReport) drain() float64 { return perSecond(float64(r.Drained), r.DrainedIn) }

// verdict returns an error if a poke was lost, not delivered in time or arrived twice.
func (r *overloadReport) verdict() error {
	if r.Lost+r.Undelivered+r.Duplicates > 0 {
		return fmt.Errorf("%d pokes lost, %d not delivered in time, %d twice", r.Lost, r.Undelivered, r.Duplicates)
	}
	return nil
}
