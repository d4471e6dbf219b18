package chaos

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"
)

// report is the result of a run.
type report struct {
	Seed   uint64         `json:"seed"`
	For    time.Duration  `json:"for_ns"`
	Faults map[string]int `json:"faults"` // by "kind victim"

	Messages       int64 `json:"messages"` // acknowledged
	Receipts       int64 `json:"receipts"`
	Redactions     int64 `json:"redactions"`
	Unacknowledged int64 `json:"unacknowledged"` // attempts to publish, each retried
	Expected       int   `json:"owed"`           // expected pokes
	Requests       int   `json:"requests"`
	Refused        int   `json:"refused"` // requests that a gateway did not accept
	EndedAlone     int   `json:"ended_alone"`

	Heal         time.Duration `json:"heal_ns"`      // from the end of the last fault until all expected pokes had arrived
	LastDelivery time.Duration `json:"last_told_ns"` // from the last messages to their last poke

	Resumed   []resumption `json:"resumed"`   // after each kill of a dispatcher or NATS server
	Stoppages []stoppage   `json:"stoppages"` // in which a stage of a partition could not be read

	Dead         int            `json:"dead"`    // expected pokes that became dead letters
	Repeats      map[string]int `json:"repeats"` // by reason
	LatestMoment time.Duration  `json:"latest_moment_ns"`

	Lost        int      `json:"lost"`
	Disordered  int      `json:"disordered"`
	StoredTwice int      `json:"stored_twice"`
	Swapped     int      `json:"swapped"` // notifications stored out of room order
	WrongBadges int      `json:"wrong_badges"`
	Unfounded   int      `json:"unfounded"`
	Unexplained int      `json:"unexplained_repeats"`
	Problems    []string `json:"problems,omitempty"` // the first of each kind
}

func newReport(h *history) *report {
	r := &report{
		Faults: map[string]int{}, Repeats: map[string]int{}, EndedAlone: h.EndedAlone,
		Messages: h.Messages, Receipts: h.Receipts, Redactions: h.Redactions, Unacknowledged: h.Unacknowledged,
	}
	for _, f := range h.Faults {
		r.Faults[f.Track+": "+f.Kind+" "+f.Victim]++
	}
	return r
}

// count returns the sum of the counts of a map.
func count(counts map[string]int) (sum int) {
	for _, n := range counts {
		sum += n
	}
	return sum
}

func (r *report) Print(out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	line := func(what string, n any) { _, _ = fmt.Fprintf(table, "%s\t%v\n", what, n) } // Flush returns the error
	line("seed", r.Seed)
	line("faults within "+r.For.String(), count(r.Faults))
	for _, kind := range slices.Sorted(maps.Keys(r.Faults)) {
		line("  "+kind, r.Faults[kind])
	}
	line("messages acknowledged", r.Messages)
	line("receipts acknowledged", r.Receipts)
	line("redactions acknowledged", r.Redactions)
	line("attempts to publish without an answer", r.Unacknowledged)
	line("pokes expected", r.Expected)
	line("requests at gateways", r.Requests)
	line("  not accepted", r.Refused)
	line("processes that ended by themselves", r.EndedAlone)
	line("recovery time", r.Heal.Round(time.Millisecond))
	line("last messages delivered within", r.LastDelivery.Round(time.Millisecond))
	r.printResumed(line)
	line("repeated pokes", count(r.Repeats))
	for _, why := range slices.Sorted(maps.Keys(r.Repeats)) {
		line("  "+why, r.Repeats[why])
	}
	line("longest unrecorded time before a crash", r.LatestMoment.Round(time.Millisecond))
	line("dead letters", r.Dead)
	line("lost", r.Lost)
	line("delivered out of order", r.Disordered)
	line("stored twice", r.StoredTwice)
	line("stored out of room order", r.Swapped)
	line("wrong badges at the end", r.WrongBadges)
	line("delivered without cause", r.Unfounded)
	line("repeated without a known reason", r.Unexplained)
	if err := table.Flush(); err != nil {
		return fmt.Errorf("print result: %w", err)
	}
	for _, problem := range r.Problems {
		if _, err := fmt.Fprintln(out, problem); err != nil {
			return fmt.Errorf("print result: %w", err)
		}
	}
	return nil
}

// printResumed prints how long it took until all partitions were delivered again after kills,
// and what was not read.
func (r *report) printResumed(line func(string, any)) {
	byFault := map[string][]time.Duration{}
	for _, k := range r.Resumed {
		byFault[k.Fault] = append(byFault[k.Fault], k.After)
		byFault[""] = append(byFault[""], k.After)
	}
	for _, fault := range slices.Sorted(maps.Keys(byFault)) {
		longest, median := longestAndMedian(byFault[fault])
		what := "  " + fault
		if fault == "" {
			what = "kills under load, all partitions delivered again"
		}
		line(what, fmt.Sprintf("%d: after %s at most, median %s", len(byFault[fault]), longest.Round(time.Millisecond), median.Round(time.Millisecond)))
	}
	byError := map[string][]time.Duration{}
	for _, s := range r.Stoppages {
		byError[s.Error] = append(byError[s.Error], s.For)
	}
	line("times that a stage of a partition could not be read", len(r.Stoppages))
	for _, why := range slices.Sorted(maps.Keys(byError)) {
		longest, median := longestAndMedian(byError[why])
		line("  "+why, fmt.Sprintf("%d: for %s at most, median %s", len(byError[why]), longest.Round(time.Millisecond), median.Round(time.Millisecond)))
	}
}

// verdict returns an error if a guarantee was broken.
func (r *report) verdict() error {
	if r.Lost+r.Disordered+r.StoredTwice+r.Swapped+r.WrongBadges+r.Unfounded+r.Unexplained == 0 {
		return nil
	}
	return fmt.Errorf("seed %d: %d lost, %d out of order, %d stored twice, %d stored out of room order, %d wrong badges, %d delivered without cause, %d repeated without a known reason",
		r.Seed, r.Lost, r.Disordered, r.StoredTwice, r.Swapped, r.WrongBadges, r.Unfounded, r.Unexplained)
}
