package operator

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go/micro"

	"poked/events"
	"poked/events/stream"
)

// Every running dispatcher is an instance of the service, with its own subjects:
// poked.dispatcher.<worker>.<endpoint>.
const (
	dispatcherService = "poked-dispatcher"

	endpointPushers  = "pushers"
	endpointGateways = "gateways"
	endpointRetry    = "retry"
	endpointSkip     = "skip"
	endpointState    = "state"

	// workerKey is the key of the worker's name in an instance's metadata.
	workerKey = "worker"
	// fullPage is how many bytes of JSON end a page. The item that exceeds it has a
	// few KiB, and NATS allows 1 MiB.
	fullPage = 512 << 10
)

func dispatcherSubject(worker, endpoint string) string {
	return "poked.dispatcher." + worker + "." + endpoint
}

// listRequest asks for a page of pushers or gateways.
type listRequest struct {
	Filter      events.PusherFilter `json:"filter"`
	AfterPusher events.PusherCursor `json:"after_pusher"`
	AfterOrigin string              `json:"after_origin"`
}

// listPage is the answer. More reports that there may be more after the last item.
type listPage struct {
	Items      []json.RawMessage   `json:"items"`
	LastPusher events.PusherCursor `json:"last_pusher"`
	LastOrigin string              `json:"last_origin,omitempty"`
	More       bool                `json:"more"`
	size       int
}

// ServeDispatcher answers operators with handler until ctx ends, under the name of a
// worker. It uses a connection of its own, so that a page never delays an acknowledgement
// and closing the connection ends everything. Once it has returned, no function of
// handler runs or will run. It calls state with nil when operators can ask, and with the
// reason each time that NATS does not permit the service; then it tries again.
func ServeDispatcher(ctx context.Context, conn *stream.Conn, worker string, handler events.OperatorHandler, state func(error)) {
	d := &dispatcher{worker: worker, handler: handler}
	s := service{config: micro.Config{
		Name: dispatcherService, Version: "1.0.0", Description: "What a dispatcher knows of pushers and gateways.",
		Metadata: map[string]string{workerKey: worker}, QueueGroupDisabled: true,
	}}
	for name, answer := range map[string]func(context.Context, []byte) (any, error){
		endpointPushers: d.pushers, endpointGateways: d.gateways, endpointRetry: d.retry, endpointSkip: d.skip, endpointState: d.state,
	} {
		s.endpoints = append(s.endpoints, endpoint{name, dispatcherSubject(worker, name), func(ctx context.Context, req micro.Request) {
			body, err := answer(ctx, req.Data())
			if err != nil {
				_ = req.Error("400", err.Error(), nil)
				return
			}
			_ = req.RespondJSON(body) // a client that does not receive the answer asks again
		}})
	}
	s.serve(ctx, conn, state)
}

// dispatcher answers operators' requests to one dispatcher.
type dispatcher struct {
	worker  string
	handler events.OperatorHandler
}

func (d *dispatcher) pushers(ctx context.Context, raw []byte) (any, error) {
	var request listRequest
	if err := json.Unmarshal(raw, &request); err != nil {
		return nil, fmt.Errorf("decode request: %w", err)
	}
	var page listPage
	for state, place := range d.handler.Pushers(ctx, request.Filter, request.AfterPusher) {
		if err := page.add(state); err != nil {
			return nil, err
		}
		if page.LastPusher = place; page.size >= fullPage {
			page.More = true
			break
		}
	}
	return page, ctx.Err() // an incomplete page must not be sent
}

func (d *dispatcher) gateways(_ context.Context, raw []byte) (any, error) {
	var request listRequest
	if err := json.Unmarshal(raw, &request); err != nil {
		return nil, fmt.Errorf("decode request: %w", err)
	}
	states := d.handler.Gateways()
	slices.SortFunc(states, func(a, b events.GatewayState) int { return cmp.Compare(a.Origin, b.Origin) })
	var page listPage
	for i := range states {
		if states[i].Origin <= request.AfterOrigin {
			continue
		}
		states[i].Worker = d.worker
		if err := page.add(states[i]); err != nil {
			return nil, err
		}
		if page.LastOrigin = states[i].Origin; page.size >= fullPage {
			page.More = true
			break
		}
	}
	return page, nil
}

func (d *dispatcher) state(context.Context, []byte) (any, error) { return d.handler.State(), nil }

func (d *dispatcher) retry(ctx context.Context, raw []byte) (any, error) {
	var request listRequest
	if err := json.Unmarshal(raw, &request); err != nil {
		return nil, fmt.Errorf("decode request: %w", err)
	}
	return d.handler.Retry(ctx, request.Filter), nil
}

func (d *dispatcher) skip(ctx context.Context, raw []byte) (any, error) {
	var request listRequest
	if err := json.Unmarshal(raw, &request); err != nil {
		return nil, fmt.Errorf("decode request: %w", err)
	}
	return d.handler.Skip(ctx, request.Filter), nil
}

func (p *listPage) add(item any) error {
	raw, err := json.Marshal(item)
	if err != nil { // only a time out of range
		return fmt.Errorf("encode answer: %w", err)
	}
	p.Items = append(p.Items, raw)
	p.size += len(raw)
	return nil
}
