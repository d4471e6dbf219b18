package dispatcher

import (
	"time"

	"poked/dispatcher/deliver"
	"poked/events"
	"poked/events/partition"
)

// Capacity is whether a dispatcher can do what there is to do. It is behind when there is more
// than its processor, its delivery slots or its NATS allow, also while it works off what
// arrived while it did not run. Then nothing is dropped: pokes are late and stay in order,
// what is new goes before what pushers have yet to catch up with, and no gateway is blamed.
type Capacity struct {
	Limited bool // messages or pokes wait for the dispatcher itself
	// Behind is how far each stage is behind: the largest Behind of its partitions, see
	// [partition.Following].
	Behind map[string]time.Duration
	// OwnDelay is how late the process runs what is due, see [deliver.Gateways.OwnDelay].
	OwnDelay time.Duration
}

// capacity returns the capacity of a dispatcher that follows these partitions, and the states
// of its gateways.
func (all *delivery) capacity(following []partition.Following) (Capacity, []events.GatewayState) {
	c := Capacity{
		OwnDelay: all.gates.OwnDelay(),
		Behind:   map[string]time.Duration{partition.StageMatch.Name: 0, partition.StageDeliver.Name: 0},
	}
	for _, f := range following {
		c.Behind[f.Stage] = max(c.Behind[f.Stage], f.Behind)
		c.Limited = c.Limited || f.Behind >= deliver.LateFrom
	}
	states := all.gates.States(c.Limited)
	for i := range states {
		c.Limited = c.Limited || states[i].State == events.GatewayCapacity
	}
	return c, states
}

// gatewayStates returns what operators see of the gateways.
func (all *delivery) gatewayStates() []events.GatewayState {
	_, states := all.capacity(all.d.Following())
	return states
}
