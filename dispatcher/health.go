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
		Stats: d.Stats(), Tries: d.counts.tries.tries(), Latency: d.counts.ages.snapshot(),
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

// due returns what waits at all lanes. Unless some lag, only those that are busy
// have anything to tell.
func (all *delivery) due(lagging bool) (w due) {
	for _, d := range all.deliverers() {
		d.see(&w, lagging)
	}
	return w
}
