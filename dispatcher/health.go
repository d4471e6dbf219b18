package dispatcher

import (
	"fmt"
	"strings"
	"time"

	"poked/dispatcher/deliver"
	"poked/events"
	"poked/events/partition"
)

// Health is the state of a dispatcher, for metrics. Its size depends neither on users nor
// on gateways.
type Health struct {
	Stats

	// Suppressed counts the users with a pusher whom room events did not notify, by reason. An
	// event that notifies nobody whatever the rules say counts once.
	Suppressed [events.Suppressions]uint64

	Tries     []deliver.Tries
	Latency   deliver.Histogram           // age of delivered notifications, since their room event was stored
	Gateways  map[events.GatewayPhase]int // how many there are in each state
	Capacity  Capacity
	Gap       int64                 // imbalance of the accounting of notifications: 0 at rest
	Following []partition.Following // the partitions that it owns, in order
	OldestDue time.Time             // time of the oldest undelivered notification; zero if there is none
}

// Health returns the state of the dispatcher. While a pusher lags it looks at every lane:
// ask for it a few times a minute.
func (d *Dispatcher) Health() Health {
	h := Health{
		Stats: d.Stats(), Tries: d.counts.Tries(), Latency: d.counts.Latency(),
		Gateways: map[events.GatewayPhase]int{}, Following: d.Following(),
	}
	for reason := range h.Suppressed {
		h.Suppressed[reason] = d.matched.Suppressed[reason].Load()
	}
	if all := d.current.Load(); all != nil {
		outstanding := d.counts.Outstanding()
		waits := all.due(h.Lagging > 0)
		var states []events.GatewayState
		h.Capacity, states = all.capacity(h.Following)
		for i := range states {
			h.Gateways[states[i].State]++
		}
		h.OldestDue, h.Gap = waits.Oldest, outstanding-waits.Waiting
	}
	return h
}

// Gateways returns the state of each push gateway that is in use, in any order.
func (d *Dispatcher) Gateways() []events.GatewayState {
	all := d.current.Load()
	if all == nil {
		return nil
	}
	return all.gatewayStates()
}

// Unready returns why the dispatcher is not ready, one reason a line, or "" if it is.
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

// maxReasons bounds the reasons that Unready returns: there may be many partitions.
const maxReasons = 8

// due returns the undelivered notifications of all lanes. If none lags, only busy lanes have
// any.
func (all *delivery) due(lagging bool) (w deliver.Due) {
	for _, d := range all.deliverers() {
		d.See(&w, lagging)
	}
	return w
}

// Holds returns what the dispatcher keeps in memory for the notifications of each partition
// that it owns. It looks at every lane.
func (d *Dispatcher) Holds() (held []deliver.Holdings) {
	if all := d.current.Load(); all != nil {
		for _, dl := range all.deliverers() {
			held = append(held, dl.Holds())
		}
	}
	return held
}

// Following returns the partitions that the dispatcher owns, in order.
func (d *Dispatcher) Following() []partition.Following { return d.group.Following() }
