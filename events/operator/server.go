package operator

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
	"poked/events/stream"
	"poked/events/wait"
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

// dispatcherServer answers one request at a time, so that operators cost a dispatcher one
// processor at most.
type dispatcherServer struct {
	worker  string
	handler events.OperatorHandler

	mu    sync.Mutex
	ended bool
}

// servePause is the pause between two attempts to serve operators.
const servePause = 10 * time.Second

// ServeDispatcher answers operators with handler until ctx ends, under the name of a
// worker. It uses a connection of its own, so that a page never delays an acknowledgement
// and closing the connection ends everything. Once it has returned, no function of
// handler runs or will run. It calls state with nil when operators can ask, and with the
// reason each time that NATS does not permit the service; then it tries again.
func ServeDispatcher(ctx context.Context, conn *stream.Conn, worker string, handler events.OperatorHandler, state func(error)) {
	serve(ctx, conn, state, func(ctx context.Context, own *stream.Conn) (end func(), err error) {
		s := &dispatcherServer{worker: worker, handler: handler}
		return s.end, s.register(ctx, own)
	})
}

// serve serves until ctx ends, as [ServeDispatcher] does. register adds a service to a
// connection; after end no function of it runs or will run.
func serve(ctx context.Context, conn *stream.Conn, state func(error), register func(ctx context.Context, own *stream.Conn) (end func(), err error)) {
	for ctx.Err() == nil {
		if err := serveOnce(ctx, conn, func() { state(nil) }, register); err != nil {
			state(err)
			_ = wait.For(ctx, servePause) // the loop asks whether ctx has ended
		}
	}
}

// serveOnce serves until ctx ends or NATS does not permit it. It calls up when
// operators can ask.
func serveOnce(ctx context.Context, conn *stream.Conn, up func(), register func(ctx context.Context, own *stream.Conn) (end func(), err error)) error {
	own, err := conn.Beside(ctx, "operator")
	if err != nil {
		if ctx.Err() != nil {
			return nil //nolint:nilerr // asked to stop while NATS was away
		}
		return fmt.Errorf("serve operators: %w", err)
	}
	end, err := register(ctx, own)
	if err == nil {
		err = untilDenied(ctx, own, up)
	}
	end()
	// Closing stops the service as well. Stopping it first would drain each of its
	// subscriptions for nothing.
	own.NATS().Close()
	return err
}

// end waits for a request that is being answered, and answers no other.
func (s *dispatcherServer) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
}

// deniedCheck is how often a service checks whether NATS permits its subscriptions.
const deniedCheck = 2 * time.Second

// untilDenied returns nil when ctx ends, or an error when the server does not permit a
// subscription, which it reports some time later. It calls up after the first check that
// finds no error.
func untilDenied(ctx context.Context, own *stream.Conn, up func()) error {
	tick := time.NewTicker(deniedCheck)
	defer tick.Stop()
	for first := true; ; first = false {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if why := own.Denied(); strings.Contains(strings.ToLower(why), "subscription") {
			return fmt.Errorf("serve operators: %s", why)
		}
		if first {
			up()
		}
	}
}

func (s *dispatcherServer) register(ctx context.Context, own *stream.Conn) error {
	service, err := micro.AddService(own.NATS(), micro.Config{
		Name: dispatcherService, Version: "1.0.0", Description: "What a dispatcher knows of pushers and gateways.",
		Metadata: map[string]string{workerKey: s.worker}, QueueGroupDisabled: true,
	})
	if err != nil {
		return fmt.Errorf("serve operators: %w", err)
	}
	for endpoint, answer := range map[string]func(context.Context, []byte) (any, error){
		endpointPushers: s.pushers, endpointGateways: s.gateways, endpointRetry: s.retry, endpointSkip: s.skip, endpointState: s.state,
	} {
		handler := micro.ContextHandler(ctx, func(ctx context.Context, req micro.Request) { s.answer(ctx, req, answer) })
		if err := service.AddEndpoint(endpoint, handler, micro.WithEndpointSubject(dispatcherSubject(s.worker, endpoint))); err != nil {
			return fmt.Errorf("serve operators: %w", err)
		}
	}
	return nil
}

// answer answers one request. A client that does not receive the answer asks again.
func (s *dispatcherServer) answer(ctx context.Context, req micro.Request, answer func(context.Context, []byte) (any, error)) {
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

func (s *dispatcherServer) pushers(ctx context.Context, raw []byte) (any, error) {
	var request listRequest
	if err := json.Unmarshal(raw, &request); err != nil {
		return nil, fmt.Errorf("decode request: %w", err)
	}
	var page listPage
	for state, place := range s.handler.Pushers(ctx, request.Filter, request.AfterPusher) {
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

func (s *dispatcherServer) gateways(_ context.Context, raw []byte) (any, error) {
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
		if page.LastOrigin = states[i].Origin; page.size >= fullPage {
			page.More = true
			break
		}
	}
	return page, nil
}

func (s *dispatcherServer) state(context.Context, []byte) (any, error) { return s.handler.State(), nil }

func (s *dispatcherServer) retry(ctx context.Context, raw []byte) (any, error) {
	var request listRequest
	if err := json.Unmarshal(raw, &request); err != nil {
		return nil, fmt.Errorf("decode request: %w", err)
	}
	return s.handler.Retry(ctx, request.Filter), nil
}

func (s *dispatcherServer) skip(ctx context.Context, raw []byte) (any, error) {
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
