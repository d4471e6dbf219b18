package dispatcher

import (
	"fmt"
	"strings"
	"time"

	"poked/dispatcher/deliver"
	"poked/events"
	"poked/events/partition"
)

// Health is how a dispatcher stands, for whoever watches over it. It grows neither
// with users nor with gateways.
type Health struct {
	Stats

	Tries     []deliver.Tries
	Latency   deliver.Histogram           // of what was delivered, since its room event was stored
	Gateways  map[events.GatewayPhase]int // how many there are in each state of events.GatewayState
	Gap       int64                       // by how much the books of what was to be told do not balance: 0
	Following []partition.Following       // the partitions that it works through, in order
	OldestDue time.Time                   // since when something waits to be told; zero if nothing does
}

// Health tells how the dispatcher stands. It looks at every pusher that has had
// something to be told if any of them lags: ask for it a few times a minute.
func (d *Dispatcher) Health() Health {
	h := Health{
		Stats: d.Stats(), Tries: d.counts.Outcomes(), Latency: d.counts.Latency(),
		Gateways: map[events.GatewayPhase]int{}, Following: d.Following(),
	}
	if all := d.current.Load(); all != nil {
		outstanding := d.counts.Outstanding()
		waits := all.due(h.Lagging > 0)
		h.Gateways, h.OldestDue, h.Gap = all.gates.ByState(), waits.Oldest, outstanding-waits.Waiting
	}
	return h
}

// Unready returns why the dispatcher does not do all of its work, or "": a line for each
// reason.
func (d *Dispatcher) Unready() string {
	var reasons []string
	select {
	case <-d.ready:
	default:
		reasons = append(reasons, "the dispatcher has not begun: it loads pushers and push rules")
	}
	if w := d.sharing.Load(); w != nil {
		if why := w.Trouble(); why != "" {
			reasons = append(reasons, why)
		}
	}
	for _, f := range d.group.Following() {
		if f.Trouble != "" {
			reasons = append(reasons, fmt.Sprintf("%s of partition %d: %s", f.Stage, f.Part, f.Trouble))
		}
	}
	if more := len(reasons) - maxReasons; more > 0 {
		reasons = append(reasons[:maxReasons], fmt.Sprintf("and %d more", more))
	}
	if why := d.operators.Load(); why != nil {
		reasons = append(reasons, "operators get no answer: "+*why)
	}
	return strings.Join(reasons, "\n")
}

// maxReasons is how many reasons are told at most: partitions may be many.
const maxReasons = 8

// due returns what waits at all lanes. Unless some lag, only those that are busy
// have anything to tell.
func (all *delivery) due(lagging bool) (w deliver.Due) {
	for _, d := range all.deliverers() {
		d.See(&w, lagging)
	}
	return w
}

// Following returns the partitions that the dispatcher works through, in order.
func (d *Dispatcher) Following() []partition.Following { return d.group.Following() }
