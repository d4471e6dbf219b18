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
	latencyGoal = 1.2  // p99 with a bad gateway divided by p99 without
	memoryGoal  = 1024 // bytes per lagging pusher
	drainGoal   = 0.5  // share of the bare loop's rate
	probeGoal   = 30 * time.Second
)

// isolationReport is the result of "pokelab bench isolation".
type isolationReport struct {
	Light  *lightReport  `json:"light,omitempty"`
	Outage *outageReport `json:"outage,omitempty"`
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

func (b isolationReport) Print(out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(table, format+"\n", args...) } // Flush returns the error
	if b.Light != nil {
		b.Light.write(line)
	}
	if b.Outage != nil {
		b.Outage.write(line)
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("print result: %w", err)
	}
	return nil
}

func (l *lightReport) write(line func(string, ...any)) {
	p99 := func(r gatewaysReport) time.Duration { return r.P99 }
	well := middle(l.Well, p99)
	line("gateways\tp50\tp99\tmax\tp99 ratio\thung\trefused\tlost\ttwice\t")
	for _, kind := range []struct {
		name   string
		rounds []gatewaysReport
	}{{"none misbehaves", l.Well}, {"one hangs", l.Hang}, {"1 % of answers fail", l.Fail}} {
		var sum gatewaysReport
		for _, r := range kind.rounds {
			sum.Hung, sum.Refused = sum.Hung+r.Hung, sum.Refused+r.Refused
			sum.Lost, sum.Duplicates = sum.Lost+r.Lost, sum.Duplicates+r.Duplicates
		}
		line("%s\t%s\t%s\t%s\t%.2f\t%d\t%d\t%d\t%d\t", kind.name,
			brief(middle(kind.rounds, func(r gatewaysReport) time.Duration { return r.P50 })),
			brief(middle(kind.rounds, p99)),
			brief(middle(kind.rounds, func(r gatewaysReport) time.Duration { return r.Max })),
			float64(middle(kind.rounds, p99))/float64(well), sum.Hung, sum.Refused, sum.Lost, sum.Duplicates)
	}
	line("")
	line("goal: p99 ratio at most %.1f", latencyGoal)
	line("")
}

func (o *outageReport) write(line func(string, ...any)) {
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
	line("notifications of %d room(s) for each; %d tries refused during the outage", o.Rooms, o.Refused)
	line("first poke after %s, first of the last gateway after %s, last after %s; goal at most %s for the first of each gateway",
		brief(o.CaughtUp.FirstAfter), brief(o.CaughtUp.LastFirstAfter), brief(o.CaughtUp.LastAfter), probeGoal)
	line("%.0f pokes/s, %d in the busiest second; bare loop %.0f; ratio %.2f, busiest %.2f; goal at least %.1f",
		o.Rate, o.Busiest, o.BareRate, o.ratio(o.Rate), o.ratio(float64(o.Busiest)), drainGoal)
	line("CPU for each poke: %.0f µs, NATS included; bare loop %.0f µs", o.CPU, mean(o.BareCPU))
	line("at one gateway at most %d requests in flight and %d connections; limit %d", o.CaughtUp.MostInFlight, o.CaughtUp.MostConnections, o.Limit)
	line("%d lost, %d twice", o.Lost, o.Duplicates)
}

// verdict returns an error if a poke was lost or arrived twice.
func (b isolationReport) verdict() error {
	lost, twice := 0, 0
	if l := b.Light; l != nil {
		for _, r := range slices.Concat(l.Well, l.Hang, l.Fail) {
			lost, twice = lost+r.Lost, twice+r.Duplicates
		}
	}
	if o := b.Outage; o != nil {
		lost, twice = lost+o.Lost, twice+o.Duplicates
	}
	if lost+twice > 0 {
		return fmt.Errorf("%d pokes lost, %d twice", lost, twice)
	}
	return nil
}
