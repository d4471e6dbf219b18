package bench

import (
	"hash/maphash"
	"time"
)

// gatewaysReport is what the gateways received since the last report. Latencies include
// only undisturbed pokes: at any gateway but the first, to pushers without a refused poke.
type gatewaysReport struct {
	sinkReport

	Timed           int   `json:"timed"`  // pokes included in the latencies
	Pushed          int   `json:"pushed"` // to browsers
	Lost            int   `json:"lost"`
	Hung            int   `json:"hung"`    // requests without an answer
	Refused         int   `json:"refused"` // answers of 500 and 503
	MostInFlight    int64 `json:"most_in_flight"`
	MostConnections int64 `json:"most_connections"` // open at one gateway at the time of the report

	// FirstAfter is the time from the change of behaviour to the first accepted poke,
	// LastFirstAfter until every gateway had accepted one, LastAfter to the last poke.
	FirstAfter     time.Duration `json:"first_after_ns"`
	LastFirstAfter time.Duration `json:"last_first_after_ns"`
	LastAfter      time.Duration `json:"last_after_ns"`
	EachSecond     []int         `json:"each_second"`      // pokes in each second since then
	LongestPause   time.Duration `json:"longest_pause_ns"` // between two accepted pokes
}

// gatewayNotes counts for the report. The mutex of the tally guards it.
type gatewayNotes struct {
	tally sinkTally

	refusedTo  map[uint64]struct{} // pushers
	first      []time.Duration     // for each gateway; 0 before it has accepted a poke
	pushed     int
	hangs      int
	refusals   int
	lastAfter  time.Duration
	longest    time.Duration // between two accepted pokes
	eachSecond []int
}

func (n *gatewayNotes) init(gateways int) {
	n.tally.seed, n.tally.seen = maphash.MakeSeed(), map[uint64]int64{}
	n.refusedTo, n.first = map[uint64]struct{}{}, make([]time.Duration, gateways)
}

// took records a poke that a gateway accepted. since is when the current behaviour began.
func (n *gatewayNotes) took(gateway int, p sinkPoke, arrived, since time.Time) {
	n.tally.mu.Lock()
	defer n.tally.mu.Unlock()
	_, refused := n.refusedTo[p.pusher]
	n.tally.count(p, arrived.UnixNano(), gateway != 0 && !refused)
	if p.pushed && !p.badge {
		n.pushed++
	}
	before := n.lastAfter
	n.lastAfter = max(arrived.Sub(since), before, 1)
	if before > 0 {
		n.longest = max(n.longest, n.lastAfter-before)
	}
	if n.first[gateway] == 0 {
		n.first[gateway] = n.lastAfter
	}
	second := int(n.lastAfter / time.Second)
	for len(n.eachSecond) <= second {
		n.eachSecond = append(n.eachSecond, 0)
	}
	n.eachSecond[second]++
}

func (n *gatewayNotes) refused(p sinkPoke) {
	n.tally.mu.Lock()
	defer n.tally.mu.Unlock()
	n.refusals++
	n.refusedTo[p.pusher] = struct{}{}
}

func (n *gatewayNotes) hung() {
	n.tally.mu.Lock()
	defer n.tally.mu.Unlock()
	n.hangs++
}

func (n *gatewayNotes) told() int {
	n.tally.mu.Lock()
	defer n.tally.mu.Unlock()
	return len(n.tally.seen)
}

// report returns the report and resets the counts.
func (n *gatewayNotes) report() gatewaysReport {
	n.tally.mu.Lock()
	defer n.tally.mu.Unlock()
	timed := len(n.tally.latencies)
	r := gatewaysReport{
		Timed: timed, sinkReport: n.tally.take(), Pushed: n.pushed, Hung: n.hangs, Refused: n.refusals,
		LastAfter: n.lastAfter, EachSecond: n.eachSecond, LongestPause: n.longest,
	}
	for _, first := range n.first {
		if first > 0 && (r.FirstAfter == 0 || first < r.FirstAfter) {
			r.FirstAfter = first
		}
		r.LastFirstAfter = max(r.LastFirstAfter, first)
	}
	clear(n.refusedTo)
	clear(n.first)
	n.pushed, n.hangs, n.refusals, n.lastAfter, n.longest, n.eachSecond = 0, 0, 0, 0, 0, nil
	return r
}
