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
		h.Gap = all.gap()
		h.Gateways, h.OldestDue = all.gates.byState(), all.oldestDue(h.Lagging > 0)
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

// oldestDue returns since when something waits to be told, at lanes that lag, if
// any does, and at those that are live.
func (all *delivery) oldestDue(lagging bool) (oldest time.Time) {
	for _, d := range all.deliverers() {
		if since := d.oldestDue(lagging); oldest.IsZero() || !since.IsZero() && since.Before(oldest) {
			oldest = since
		}
	}
	return oldest
}

func (d *deliverer) oldestDue(lagging bool) (oldest time.Time) {
	see := func(since time.Time) {
		if oldest.IsZero() || since.Before(oldest) {
			oldest = since
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for l := range d.busy {
		if len(l.queue) > 0 && !l.queue[0].badge {
			see(l.queue[0].n.At)
		}
	}
	if !lagging {
		return oldest
	}
	for _, r := range d.people {
		for _, l := range r.lanes {
			if l.lag != nil {
				see(l.lag.since)
			}
		}
	}
	return oldest
}
