package node

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"poked/dispatcher"
	"poked/events"
	"poked/events/operator"
	"poked/events/stream"
)

// observed is the state of all dispatchers at one moment.
type observed struct {
	gateways []events.GatewayState // by origin, each once
	lagging  uint64
	dead     uint64 // letters written since the last look, without those that operators put aside
}

// deployment is what one dispatcher sees of all.
type deployment struct {
	leads       func() bool // whether this dispatcher speaks for all
	gateways    func(context.Context) ([]events.GatewayState, error)
	dispatchers func(context.Context) ([]events.DispatcherState, error)
	letters     map[string]uint64 // dead letters by dispatcher at the last look; nil if another dispatcher looked then
}

func deploymentOf(d *dispatcher.Dispatcher, conn *stream.Conn) *deployment {
	client := operator.NewClient(conn)
	return &deployment{
		leads: d.Leads, dispatchers: client.Dispatchers, letters: map[string]uint64{},
		gateways: func(ctx context.Context) (all []events.GatewayState, err error) {
			for state, err := range client.Gateways(ctx) {
				if err != nil {
					return nil, fmt.Errorf("list gateways: %w", err)
				}
				all = append(all, state)
			}
			return all, nil
		},
	}
}

// look returns the state of the deployment, if it is on this dispatcher to look.
func (d *deployment) look(ctx context.Context) (state observed, leads bool, err error) {
	if !d.leads() {
		d.letters = nil
		return observed{}, false, nil
	}
	state, err = d.observe(ctx)
	return state, true, err
}

// observe asks all dispatchers. The error is that one of them did not answer: what the others say is then not
// the state of the deployment.
func (d *deployment) observe(ctx context.Context) (observed, error) {
	states, err := d.dispatchers(ctx)
	if err != nil {
		return observed{}, fmt.Errorf("ask dispatchers: %w", err)
	}
	gateways, err := d.gateways(ctx)
	if err != nil {
		return observed{}, fmt.Errorf("ask dispatchers for gateways: %w", err)
	}
	o := observed{gateways: byOrigin(gateways)}
	letters := map[string]uint64{}
	for i := range states {
		s := &states[i]
		o.lagging += uint64(max(s.Lagging, 0))
		letters[s.Worker] = s.Dead - s.PutAside + s.Unreadable
		if d.letters != nil {
			o.dead += letters[s.Worker] - min(d.letters[s.Worker], letters[s.Worker])
		}
	}
	d.letters = letters
	return o, nil
}

// byOrigin returns one state for each gateway: the worst that a dispatcher has of it, with the pushers of all.
func byOrigin(states []events.GatewayState) []events.GatewayState {
	merged := map[string]events.GatewayState{}
	for i := range states {
		g := states[i]
		if other, seen := merged[g.Origin]; seen {
			lagging := g.Lagging + other.Lagging
			if isDown(&other) {
				g = other
			}
			g.Lagging = lagging
		}
		merged[g.Origin] = g
	}
	return slices.SortedFunc(maps.Values(merged), func(a, b events.GatewayState) int { return cmp.Compare(a.Origin, b.Origin) })
}

// isDown reports whether a dispatcher waits for the gateway to work again.
func isDown(g *events.GatewayState) bool {
	return g.State == events.GatewayOpen || g.State == events.GatewayProbing
}
