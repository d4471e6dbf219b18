package stream

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/micro"

	"poked/events"
	"poked/events/wait"
)

// Dispatchers answer operators as a NATS service ("micro"), so that the nats command finds
// it too. Every running dispatcher is an instance of the service, with its own subjects:
// poked.dispatcher.<worker>.<endpoint>.
//
//	client ── $SRV.PING.poked-dispatcher ──▶ all ──▶ which workers there are
//	       └─ poked.dispatcher.<worker>.pushers {filter, after} ──▶ a page, and where the next begins
//
// A list is read in pages, one request after the other, so no message and no buffer grows
// with the length of the list.
const (
	operatorService = "poked-dispatcher"

	endpointPushers  = "pushers"
	endpointGateways = "gateways"
	endpointRetry    = "retry"
	endpointSkip     = "skip"
	endpointState    = "state"

	// operatorWorker is the key of the worker's name in an instance's metadata.
	operatorWorker = "worker"
	// operatorPage is how many bytes of JSON end a page. The item that exceeds it has a
	// few KiB, and NATS allows 1 MiB.
	operatorPage = 512 << 10
)

func operatorSubject(worker, endpoint string) string {
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

// operatorServer answers one request at a time, so that operators cost a dispatcher one
// processor at most.
type operatorServer struct {
	worker  string
	handler events.OperatorHandler

	mu    sync.Mutex
	ended bool
}

// operatorPause is the pause between two attempts to serve operators.
const operatorPause = 10 * time.Second

// ServeOperator answers operators with handler until ctx ends, under the name of a
// worker. It uses a connection of its own, so that a page never delays an acknowledgement
// and closing the connection ends everything. Once it has returned, no function of
// handler runs or will run. It calls state with nil when operators can ask, and with the
// reason each time that NATS does not permit the service; then it tries again.
func (c *Conn) ServeOperator(ctx context.Context, worker string, handler events.OperatorHandler, state func(error)) {
	c.serveOperators(ctx, state, func(ctx context.Context, own *Conn) (end func(), err error) {
		s := &operatorServer{worker: worker, handler: handler}
		return s.end, s.register(ctx, own)
	})
}

// serveOperators serves until ctx ends, as [Conn.ServeOperator] does. register adds a
// service to a connection; after end no function of it runs or will run.
func (c *Conn) serveOperators(ctx context.Context, state func(error), register func(ctx context.Context, own *Conn) (end func(), err error)) {
	for ctx.Err() == nil {
		if err := c.serveOperatorsOnce(ctx, func() { state(nil) }, register); err != nil {
			state(err)
			_ = wait.For(ctx, operatorPause) // the loop asks whether ctx has ended
		}
	}
}

// serveOperatorsOnce serves until ctx ends or NATS does not permit it. It calls up when
// operators can ask.
func (c *Conn) serveOperatorsOnce(ctx context.Context, up func(), register func(ctx context.Context, own *Conn) (end func(), err error)) error {
	own, err := c.Beside(ctx, "operator")
	if err != nil {
		if ctx.Err() != nil {
			return nil //nolint:nilerr // asked to stop while NATS was away
		}
		return fmt.Errorf("serve operators: %w", err)
	}
	end, err := register(ctx, own)
	if err == nil {
		err = own.untilDenied(ctx, up)
	}
	end()
	// Closing stops the service as well. Stopping it first would drain each of its
	// subscriptions for nothing.
	own.nc.Close()
	return err
}

// end waits for a request that is being answered, and answers no other.
func (s *operatorServer) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
}

// deniedCheck is how often a service checks whether NATS permits its subscriptions.
const deniedCheck = 2 * time.Second

// untilDenied returns nil when ctx ends, or an error when the server does not permit a
// subscription, which it reports some time later. It calls up after the first check that
// finds no error.
func (c *Conn) untilDenied(ctx context.Context, up func()) error {
	tick := time.NewTicker(deniedCheck)
	defer tick.Stop()
	for first := true; ; first = false {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if why := c.Denied(); strings.Contains(strings.ToLower(why), "subscription") {
			return fmt.Errorf("serve operators: %s", why)
		}
		if first {
			up()
		}
	}
}

func (s *operatorServer) register(ctx context.Context, own *Conn) error {
	service, err := micro.AddService(own.nc, micro.Config{
		Name: operatorService, Version: "1.0.0", Description: "What a dispatcher knows of pushers and gateways.",
		Metadata: map[string]string{operatorWorker: s.worker}, QueueGroupDisabled: true,
	})
	if err != nil {
		return fmt.Errorf("serve operators: %w", err)
	}
	for endpoint, answer := range map[string]func(context.Context, []byte) (any, error){
		endpointPushers: s.pushers, endpointGateways: s.gateways, endpointRetry: s.retry, endpointSkip: s.skip, endpointState: s.state,
	} {
		handler := micro.ContextHandler(ctx, func(ctx context.Context, req micro.Request) { s.answer(ctx, req, answer) })
		if err := service.AddEndpoint(endpoint, handler, micro.WithEndpointSubject(operatorSubject(s.worker, endpoint))); err != nil {
			return fmt.Errorf("serve operators: %w", err)
		}
	}
	return nil
}

// answer answers one request. A client that does not receive the answer asks again.
func (s *operatorServer) answer(ctx context.Context, req micro.Request, answer func(context.Context, []byte) (any, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || ctx.Err() != nil {
		return
	}
	body, err := answer(ctx, req.Data())
	if err != nil {
		_ = req.Error("400", err.Error(), nil)
		return
	}
	_ = req.RespondJSON(body)
}

func (s *operatorServer) pushers(ctx context.Context, raw []byte) (any, error) {
	var request listRequest
	if err := json.Unmarshal(raw, &request); err != nil {
		return nil, fmt.Errorf("decode request: %w", err)
	}
	var page listPage
	for state, place := range s.handler.Pushers(ctx, request.Filter, request.AfterPusher) {
		if err := page.add(state); err != nil {
			return nil, err
		}
		if page.LastPusher = place; page.size >= operatorPage {
			page.More = true
			break
		}
	}
	return page, ctx.Err() // an incomplete page must not be sent
}

func (s *operatorServer) gateways(_ context.Context, raw []byte) (any, error) {
	var request listRequest
	if err := json.Unmarshal(raw, &request); err != nil {
		return nil, fmt.Errorf("decode request: %w", err)
	}
	states := s.handler.Gateways()
	slices.SortFunc(states, func(a, b events.GatewayState) int { return cmp.Compare(a.Origin, b.Origin) })
	var page listPage
	for i := range states {
		if states[i].Origin <= request.AfterOrigin {
			continue
		}
		states[i].Worker = s.worker
		if err := page.add(states[i]); err != nil {
			return nil, err
		}
		if page.LastOrigin = states[i].Origin; page.size >= operatorPage {
			page.More = true
			break
		}
	}
	return page, nil
}

func (s *operatorServer) state(context.Context, []byte) (any, error) { return s.handler.State(), nil }

func (s *operatorServer) retry(ctx context.Context, raw []byte) (any, error) {
	var request listRequest
	if err := json.Unmarshal(raw, &request); err != nil {
		return nil, fmt.Errorf("decode request: %w", err)
	}
	return s.handler.Retry(ctx, request.Filter), nil
}

func (s *operatorServer) skip(ctx context.Context, raw []byte) (any, error) {
	var request listRequest
	if err := json.Unmarshal(raw, &request); err != nil {
		return nil, fmt.Errorf("decode request: %w", err)
	}
	return s.handler.Skip(ctx, request.Filter), nil
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
