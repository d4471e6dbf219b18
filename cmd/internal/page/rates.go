package page

import (
	"context"
	"sync"
	"time"

	"poked/events"
	"poked/events/operator"
	"poked/events/stream"
	"poked/events/wait"
)

const (
	sampleEvery = 10 * time.Second
	// rateFor is how far back the plots go: so many samples are kept.
	rateFor    = time.Hour
	maxSamples = int(rateFor / sampleEvery)
)

// The things of which a rate is kept.
const (
	rateEvents = iota
	rateNotifications
	ratePokes
	rateFailures
	rateKinds
)

// point has how many of each kind there were a second, up to a time.
type point struct {
	at     time.Time
	values [rateKinds]float64
}

// rates keeps the rates of the last hour, of all dispatchers together. It counts from the
// first time that it hears of a dispatcher.
type rates struct {
	mu     sync.Mutex
	points []point // in order, at most maxSamples
	last   map[string]counted
}

// counted is what a dispatcher had counted at a time.
type counted struct {
	at     time.Time
	counts [rateKinds]uint64
}

func countsOf(s *events.DispatcherState) (c [rateKinds]uint64) {
	c[rateEvents], c[rateNotifications], c[ratePokes], c[rateFailures] = s.RoomEvents, s.Notifications, s.Delivered, s.Failed
	return c
}

// sample asks the dispatchers what they have counted until ctx ends.
func (p *Page) sample(ctx context.Context, conn *stream.Conn) {
	client := operator.NewClient(conn)
	for ctx.Err() == nil {
		if conn.Connected() {
			states, _ := client.Dispatchers(ctx) // the page tells who does not answer when somebody looks
			p.rates.add(states, time.Now())
		}
		_ = wait.For(ctx, sampleEvery) // the loop looks at ctx
	}
}

// add adds a sample. A dispatcher that did not answer adds to a later one what it did meanwhile.
func (r *rates) add(states []events.DispatcherState, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	next, sum := map[string]counted{}, point{at: now}
	for _, s := range states {
		c := counted{at: now, counts: countsOf(&s)}
		before, known := r.last[s.Worker]
		for kind := range c.counts {
			if seconds := now.Sub(before.at).Seconds(); known && seconds > 0 && c.counts[kind] >= before.counts[kind] {
				sum.values[kind] += float64(c.counts[kind]-before.counts[kind]) / seconds
			}
		}
		next[s.Worker] = c
	}
	for worker, before := range r.last { // that did not answer
		if _, known := next[worker]; !known && now.Sub(before.at) < rateFor {
			next[worker] = before
		}
	}
	if r.last != nil {
		r.points = append(r.points, sum)
	}
	if len(r.points) > maxSamples {
		r.points = r.points[len(r.points)-maxSamples:]
	}
	r.last = next
}

// all returns the samples.
func (r *rates) all() []point {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]point(nil), r.points...)
}
