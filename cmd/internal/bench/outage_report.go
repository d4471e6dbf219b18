package bench

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// The goals.
const (
	memoryGoal     = 1024 // bytes per lagging pusher
	drainGoal      = 0.5  // share of the bare loop's rate
	probeGoal      = 30 * time.Second
	standstillGoal = 10 * time.Second
)

// outageReport is the result of an outage of all gateways and of their recovery.
type outageReport struct {
	Lagging int `json:"lagging"` // pushers, each of which missed outageEach notifications
	Rooms   int `json:"rooms"`   // of the missed notifications
	Refused int `json:"refused"` // attempts during the outage

	// Earlier and Before are measured before and after the delivery of as many
	// notifications as are missed in the outage: the difference is the cost of the log.
	Earlier  memoryUse      `json:"memory_earlier"`
	Before   memoryUse      `json:"memory_before"`
	PeakWell int64          `json:"peak_rss_while_all_is_well"`
	During   memoryUse      `json:"memory_while_they_lag"`
	Peak     int64          `json:"peak_rss_catching_up"`
	After    memoryUse      `json:"memory_after"`
	CaughtUp gatewaysReport `json:"caught_up"`

	Lost       int `json:"lost"` // before the outage or after it
	Duplicates int `json:"duplicates"`

	Rate     float64   `json:"pokes_per_second"` // from the first to the last poke
	Busiest  int       `json:"busiest_second"`
	CPU      float64   `json:"cpu_us_per_poke"`      // of this process, with NATS, while they catch up
	LiveCPU  float64   `json:"live_cpu_us_per_poke"` // the same while all is well, with match
	BareRate []float64 `json:"bare_per_second"`      // before the outage and after it
	BareCPU  []float64 `json:"bare_cpu_us_per_poke"`
	Limit    int       `json:"in_flight_limit"`

	Busy       int        `json:"busy_processes"` // beside the outage, the recovery and the bare loop
	Heartbeats heartbeats `json:"heartbeats"`     // of the dispatcher, in the outage and the recovery
}

// ratio returns a rate divided by the bare loop's.
func (o *outageReport) ratio(rate float64) float64 { return rate / mean(o.BareRate) }

func mean(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}

// Print prints the report as text.
func (o *outageReport) Print(out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(table, format+"\n", args...) } // Flush returns the error
	o.writeMemory(line)
	o.writeRecovery(line)
	if err := table.Flush(); err != nil {
		return fmt.Errorf("print result: %w", err)
	}
	return nil
}

func (o *outageReport) writeMemory(line func(string, ...any)) {
	line("memory, MiB\tRSS\tGo heap\tof NATS\tof the dispatcher\t")
	mib := func(bytes int64) float64 { return float64(bytes) / (1 << 20) }
	for _, at := range []struct {
		name string
		m    memoryUse
	}{{"earlier", o.Earlier}, {"before the outage", o.Before}, {"while all lag", o.During}, {"after catching up", o.After}} {
		line("%s\t%.1f\t%.1f\t%.1f\t%.1f\t", at.name, mib(at.m.RSS), mib(at.m.Heap), mib(at.m.NATS), mib(at.m.Dispatcher))
	}
	line("")
	line("bytes for each of %d pushers\tRSS\tGo heap\tof NATS\tof the dispatcher\t", o.Lagging)
	each := func(from, to int64) int64 { return (to - from) / int64(o.Lagging) }
	for _, span := range []struct {
		name     string
		from, to memoryUse
	}{{"told as much, earlier to before", o.Earlier, o.Before}, {"lagging, before to while", o.Before, o.During}, {"caught up, before to after", o.Before, o.After}} {
		line("%s\t%d\t%d\t%d\t%d\t", span.name, each(span.from.RSS, span.to.RSS), each(span.from.Heap, span.to.Heap),
			each(span.from.NATS, span.to.NATS), each(span.from.Dispatcher, span.to.Dispatcher))
	}
	line("")
	line("goal: at most %d while they lag, and nothing after", memoryGoal)
	line("most RSS while catching up: %.1f MiB; while all were told as much: %.1f MiB", mib(o.Peak), mib(o.PeakWell))
}

func (o *outageReport) writeRecovery(line func(string, ...any)) {
	line("")
	if o.Busy > 0 {
		line("from here on beside %d busy processes", o.Busy)
	}
	line("notifications of %d room(s) for each; %d tries refused during the outage", o.Rooms, o.Refused)
	line("first poke after %s, first of the last gateway after %s, last after %s; goal at most %s for the first of each gateway",
		brief(o.CaughtUp.FirstAfter), brief(o.CaughtUp.LastFirstAfter), brief(o.CaughtUp.LastAfter), probeGoal)
	line("%.0f pokes/s, %d in the busiest second; bare loop %.0f; ratio %.2f, busiest %.2f; goal at least %.1f",
		o.Rate, o.Busiest, o.BareRate, o.ratio(o.Rate), o.ratio(float64(o.Busiest)), drainGoal)
	line("CPU for each poke: %.0f µs, NATS included; while all was well %.0f µs, ratio %.2f, goal at most %.1f; bare loop %.0f µs",
		o.CPU, o.LiveCPU, o.CPU/o.LiveCPU, recoveryCPUGoal, mean(o.BareCPU))
	line("longest time between two pokes %s, goal less than %s", brief(o.CaughtUp.LongestPause), standstillGoal)
	line("%d heartbeats missed of %d, longest time between two %s; goal none missed", o.Heartbeats.Missed, o.Heartbeats.Missed+o.Heartbeats.Stored, brief(o.Heartbeats.Longest))
	line("at one gateway at most %d requests in flight and %d connections; limit %d", o.CaughtUp.MostInFlight, o.CaughtUp.MostConnections, o.Limit)
	line("%d lost, %d twice", o.Lost, o.Duplicates)
}

// verdict returns an error if a poke was lost or arrived twice.
func (o *outageReport) verdict() error {
	if o.Lost+o.Duplicates > 0 {
		return fmt.Errorf("%d pokes lost, %d twice", o.Lost, o.Duplicates)
	}
	return nil
}
