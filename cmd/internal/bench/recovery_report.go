package bench

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// The goals: how late the last poke may be, and the CPU time of a poke during recovery
// divided by that before.
const (
	lateGoal        = 10 * time.Second
	recoveryCPUGoal = 1.5
)

// recoveryReport is the result of "pokelab bench recovery".
type recoveryReport struct {
	Events int     `json:"events"`
	Rate   float64 `json:"events_per_second"`
	Rooms  int     `json:"rooms"`
	Users  int     `json:"users_each"`

	KilledAt time.Time     `json:"killed_at"`
	DeadAt   time.Time     `json:"dead_at"`
	Slowest  time.Duration `json:"slowest_write_ns"` // of the homeserver, before the kill

	LastLate   time.Duration `json:"last_late_ns"` // how late the last poke was
	Latest     time.Duration `json:"latest_ns"`    // how late the latest was
	Late       int           `json:"late"`         // pokes that were late by more than lateAfter
	CaughtUp   time.Duration `json:"caught_up_ns"` // from the kill to the last of them; 0 if there was none
	DrainRate  float64       `json:"drain_per_second"`
	MatchRate  float64       `json:"match_per_second"`         // room events, until match had caught up
	LiveCPU    float64       `json:"live_cpu_us_per_poke"`     // of the dispatcher and NATS, before the kill
	RecoverCPU float64       `json:"recovery_cpu_us_per_poke"` // from the kill until everything late had arrived

	PassedOver   int           `json:"passed_over"`
	Lost         int           `json:"lost"`
	WithReason   int           `json:"twice_with_reason"` // in flight at the kill, or just before
	Unexplained  int           `json:"twice_without_reason"`
	LongestSince time.Duration `json:"oldest_repeated_ns"` // longest time from a poke that was repeated to the kill

	Unfinished  bool `json:"unfinished"` // recovery took too long
	Undelivered int  `json:"undelivered"`

	Bare []burstSample `json:"bare"` // before and after
}

// storing is how long it takes to store an outcome: the 10 ms between two writes of a
// position, and a write. If the homeserver's writes take longer, so may this one.
const storing = 250 * time.Millisecond

// conclude computes the result.
func (r *recoveryReport) conclude(samples []recoverySample, seen sinkReport, pokes int) {
	r.LastLate, r.Latest, r.Late = seen.LastLatency, seen.Max, seen.Late
	for _, before := range seen.Repeated {
		age := r.KilledAt.Sub(time.Unix(0, before))
		r.LongestSince = max(r.LongestSince, age)
		if age <= storing+2*r.Slowest && time.Unix(0, before).Before(r.DeadAt.Add(storing)) {
			r.WithReason++
		} else {
			r.Unexplained++
		}
	}
	if seen.Late > 0 {
		from, until := time.Unix(0, seen.LateFrom), time.Unix(0, seen.LateUntil)
		r.CaughtUp = until.Sub(r.KilledAt)
		r.DrainRate = perSecond(float64(seen.Late), until.Sub(from))
	}
	r.costs(samples)
	for _, s := range samples {
		r.PassedOver = max(r.PassedOver, int(s.dispatcher.passedOver))
	}
	missing := max(pokes-seen.Received-r.PassedOver, 0)
	if r.Unfinished {
		r.Undelivered = missing
	} else {
		r.Lost = missing
	}
}

// costs computes the CPU time per poke before the kill and during recovery, and the rate of
// match.
func (r *recoveryReport) costs(samples []recoverySample) {
	var first, killed, recovered *recoverySample
	idle, matched := &recoverySample{at: r.DeadAt}, &recoverySample{at: r.DeadAt} // before match began, and when it had caught up
	for i := range samples {
		s := &samples[i]
		switch {
		case !s.restarted && first == nil:
			first, killed = s, s
			continue
		case !s.restarted:
			killed = s
			continue
		}
		if recovered == nil || recovered.at.Sub(r.KilledAt) < r.CaughtUp {
			recovered = s
		}
		switch d := &s.dispatcher; {
		case !s.answers:
		case d.roomEvents == 0:
			idle, matched = s, s
		case matched == idle || matched.dispatcher.toMatch > r.Rate/4:
			matched = s
		}
	}
	if first == nil || recovered == nil {
		return
	}
	r.LiveCPU = cpuEach(killed.cpu+killed.nats-first.cpu-first.nats, killed.pokes-first.pokes)
	r.RecoverCPU = cpuEach(recovered.cpu+recovered.nats-killed.nats, recovered.pokes-killed.pokes)
	r.MatchRate = perSecond(matched.dispatcher.roomEvents, matched.at.Sub(idle.at))
}

func cpuEach(cpu time.Duration, n int) float64 { return expense{cpu: cpu}.cpuEach(max(n, 1)) }

func perSecond(n float64, took time.Duration) float64 {
	return n / max(took, time.Millisecond).Seconds()
}

func (r *recoveryReport) bareRate() float64 {
	return meanOf(r.Bare, func(s burstSample) float64 { return s.Rate })
}

// Print prints the report as text.
func (r *recoveryReport) Print(out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	line := func(name, format string, args ...any) { _, _ = fmt.Fprintf(table, name+"\t"+format+"\n", args...) } // Flush returns the error
	line("load", "%d events at %.0f/s in %d room(s) of %d users, dispatcher killed in the middle and restarted at once", r.Events, r.Rate, r.Rooms, r.Users)
	line("last poke", "%s late, the latest %s; goal at most %s", brief(r.LastLate), brief(r.Latest), lateGoal)
	line("caught up", "%s after the kill, %d pokes more than %s late", brief(r.CaughtUp), r.Late, lateAfter)
	line("match", "%.0f room events/s until it had caught up", r.MatchRate)
	line("drain", "%.0f pokes/s, bare loop %.0f, ratio %.2f", r.DrainRate, r.bareRate(), r.DrainRate/r.bareRate())
	line("CPU µs/poke", "%.1f in recovery, %.1f before (dispatcher and NATS), ratio %.2f, goal at most %.1f; bare loop %.1f",
		r.RecoverCPU, r.LiveCPU, r.RecoverCPU/r.LiveCPU, recoveryCPUGoal, meanOf(r.Bare, func(s burstSample) float64 { return s.CPU }))
	line("lost", "%d, not delivered in time %d", r.Lost, r.Undelivered)
	line("passed over", "%d", r.PassedOver)
	line("twice", "%d in flight at the kill or up to %s before, %d without reason; the oldest arrived %s before the kill",
		r.WithReason, brief(storing+2*r.Slowest), r.Unexplained, brief(r.LongestSince))
	if err := table.Flush(); err != nil {
		return fmt.Errorf("print result: %w", err)
	}
	return nil
}

// verdict returns an error if a poke was lost, not delivered in time or passed over, or
// arrived twice without a reason.
func (r *recoveryReport) verdict() error {
	if r.Lost+r.Undelivered+r.PassedOver+r.Unexplained > 0 {
		return fmt.Errorf("%d pokes lost, %d not delivered in time, %d passed over, %d twice without reason",
			r.Lost, r.Undelivered, r.PassedOver, r.Unexplained)
	}
	return nil
}
