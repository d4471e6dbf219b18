package chaos

import (
	"context"
	"slices"
	"sort"
	"sync/atomic"
	"time"

	"poked/events"
	"poked/events/wait"
)

// Kills happen under load: from loadBefore before one until its victim runs again, events come
// at a higher rate. The report has for each kill how long it took until every partition was
// delivered again.

// loadBefore is how long events come at the higher rate before a kill.
const loadBefore = time.Second

// hurries reports whether events come at the higher rate because of the fault.
func (f *fault) hurries() bool {
	return f.Kind == faultKill && (f.Track == "dispatcher" || f.Track == "nats")
}

// pace is the rate of events.
type pace struct {
	usual, hurried float64 // events per second
	kills          atomic.Int32
}

// now returns the rate now.
func (p *pace) now() float64 {
	if p.kills.Load() > 0 {
		return max(p.hurried, p.usual)
	}
	return p.usual
}

// paceStep is how soon a change of the rate takes effect.
const paceStep = 50 * time.Millisecond

// wait waits for as long as a number of events take, or until ctx ends.
func (p *pace) wait(ctx context.Context, events float64) {
	for ctx.Err() == nil {
		now := p.now()
		left := time.Duration(events / now * float64(time.Second))
		_ = wait.For(ctx, min(left, paceStep)) // the loop looks at ctx
		if left <= paceStep {
			return
		}
		events -= now * paceStep.Seconds()
	}
}

// resumption is how deliveries went on after a kill.
type resumption struct {
	Fault string        `json:"fault"` // "track: kind victim"
	At    time.Time     `json:"at"`
	After time.Duration `json:"after_ns"` // until the last partition was delivered again
	Part  int           `json:"part"`     // that partition
}

// inFlight is how long after a kill requests may still arrive that were sent before it.
const inFlight = 100 * time.Millisecond

// resumptions returns how deliveries went on after each kill. Partitions of which nothing
// arrived after it do not count: their pokes are lost, or there were none.
func (c *checker) resumptions() (all []resumption) {
	for _, f := range c.Faults {
		if !f.hurries() {
			continue
		}
		r := resumption{Fault: f.Track + ": " + f.Kind + " " + f.Victim, At: f.From}
		seen := map[int]bool{}
		from := f.From.Add(inFlight)
		begin := sort.Search(len(c.Pokes), func(n int) bool { return !c.Pokes[n].Arrived.Before(from) })
		for n := begin; n < len(c.Pokes) && len(seen) < c.partitions; n++ {
			p := &c.Pokes[n]
			user := c.owners[p.Pushkey]
			if !p.taken() || user == nil {
				continue
			}
			if part := partOf(user, c.partitions); !seen[part] {
				seen[part] = true
				r.After, r.Part = p.Arrived.Sub(f.From), part
			}
		}
		if len(seen) > 0 {
			all = append(all, r)
		}
	}
	return all
}

// partOf returns the partition of a user's notifications.
func partOf(u *person, partitions int) int { return events.PartitionOf(events.Token(u.id), partitions) }

// longestAndMedian returns the longest of the times and the one in the middle.
func longestAndMedian(times []time.Duration) (longest, median time.Duration) {
	if len(times) == 0 {
		return 0, 0
	}
	sorted := slices.Sorted(slices.Values(times))
	return sorted[len(sorted)-1], sorted[len(sorted)/2]
}

// stoppage is a time in which a reader of a stream or bucket had lost its consumer.
type stoppage struct {
	Dispatcher int           `json:"dispatcher"`
	Reader     string        `json:"reader"` // such as "deliver 3"
	At         time.Time     `json:"at"`
	For        time.Duration `json:"for_ns"` // until it read again, or its process ended
	Error      string        `json:"error"`
}
