package dispatcher

import (
	"time"
)

// Health is how a dispatcher stands, for whoever watches over it. It grows neither
// with users nor with gateways.
type Health struct {
	Stats

	Tries     []Tries
	Latency   Histogram      // of what was delivered, since its room event was stored
	Gateways  map[string]int // how many there are in each state of events.GatewayState
	Gap       int64          // by how much the books of what was to be told do not balance: 0
	OldestDue time.Time      // since when something waits to be told; zero if nothing does
}

// Health tells how the dispatcher stands. It looks at every pusher that has had
// something to be told if any of them lags: ask for it a few times a minute.
func (d *Dispatcher) Health() Health {
	h := Health{
		Stats: d.counts.stats(), Tries: d.counts.tries.tries(), Latency: d.counts.ages.snapshot(),
		Gateways: map[string]int{},
	}
	if all := d.current.Load(); all != nil {
		outstanding := d.counts.books.outstanding()
		waits := all.due(h.Lagging > 0)
		h.Gateways, h.OldestDue, h.Gap = all.gates.byState(), waits.oldest, outstanding-waits.waiting
	}
	return h
}

// Unready says why the dispatcher does not work yet, or "".
func (d *Dispatcher) Unready() string {
	select {
	case <-d.ready:
		return ""
	default:
		return "the dispatcher has not begun: it loads pushers and push rules"
	}
}

// byState counts the gateways in each state.
func (gs *gateways) byState() map[string]int {
	now, states := time.Now(), map[string]int{}
	gs.mu.Lock()
	defer gs.mu.Unlock()
	for origin, g := range gs.byOrigin {
		if origin != refusedOrigin {
			states[g.state(now).State]++
		}
	}
	return states
}

// due is what waits to be told.
type due struct {
	waiting int64     // notifications
	oldest  time.Time // since when something waits; zero if nothing does
}

// see takes in a lane.
func (w *due) see(l *lane) {
	w.waiting += int64(l.waiting())
	switch {
	case l.lag != nil:
		w.since(l.lag.since)
	case len(l.queue) > 0 && !l.queue[0].badge:
		w.since(l.queue[0].n.At)
	}
}

func (w *due) since(at time.Time) {
	if w.oldest.IsZero() || !at.IsZero() && at.Before(w.oldest) {
		w.oldest = at
	}
}

// due returns what waits at all lanes. Unless some lag, only those that are busy
// have anything to tell.
func (all *delivery) due(lagging bool) (w due) {
	for _, d := range all.deliverers() {
		d.see(&w, lagging)
	}
	return w
}

func (d *deliverer) see(w *due, lagging bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !lagging {
		for l := range d.busy {
			w.see(l)
		}
		return
	}
	for _, r := range d.people {
		for _, l := range r.lanes {
			w.see(l)
		}
	}
}
