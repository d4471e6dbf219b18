package page

import (
	"context"
	"sync"
	"time"

	"poked/events"
	"poked/events/operator"
	"poked/events/stream"
)

const (
	// lookFor is how long a look at the deployment is shown to others who look.
	lookFor = 4 * time.Second
	// lookPatience is how long a look may take.
	lookPatience = 8 * time.Second
	// maxGateways is how many gateways a look takes in.
	maxGateways = 2000
)

// look is what everybody answered at one time. Each part has an error if it is incomplete.
type look struct {
	at time.Time

	dispatchers    []events.DispatcherState
	dispatchersErr error
	processes      []events.ProcessState
	processesErr   error
	gateways       []events.GatewayState
	gatewaysErr    error
	moreGateways   bool
	streams        []stream.Status
	connected      bool
	partitions     int
}

// lookAt returns a look at the deployment that is at most lookFor old. All who ask at the same
// time share one.
func (p *Page) lookAt(conn *stream.Conn) *look {
	if l := p.look.Load(); l != nil && time.Since(l.at) < lookFor {
		return l
	}
	found, _, _ := p.flight.Do("look", func() (any, error) {
		l := takeLook(conn)
		l.streams = (*p.streams.Load())()
		p.look.Store(l)
		return l, nil
	})
	return found.(*look)
}

func takeLook(conn *stream.Conn) *look {
	ctx, cancel := context.WithTimeout(context.Background(), lookPatience) // whoever asked first may leave
	defer cancel()
	l := &look{at: time.Now(), connected: conn.Connected(), partitions: conn.Topology().Partitions}
	client := operator.NewClient(conn)
	var asking sync.WaitGroup
	asking.Go(func() { l.dispatchers, l.dispatchersErr = client.Dispatchers(ctx) })
	asking.Go(func() { l.processes, l.processesErr = client.Processes(ctx) })
	asking.Go(func() {
		for gateway, err := range client.Gateways(ctx) {
			if err != nil {
				l.gatewaysErr = err
				return
			}
			if len(l.gateways) == maxGateways {
				l.moreGateways = true
				return
			}
			l.gateways = append(l.gateways, gateway)
		}
	})
	asking.Wait()
	return l
}
