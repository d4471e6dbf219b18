package operator

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"poked/events"
	"poked/events/stream"
)

// Every running process of poked, whatever its role, answers operators about itself. All of
// them answer the same request.
const (
	processService  = "poked-process"
	processSubject  = "poked.process"
	endpointProcess = "process"
)

// ServeProcess answers operators with describe until ctx ends, as [ServeDispatcher] does.
// describe may be called at any time until ServeProcess returns.
func ServeProcess(ctx context.Context, conn *stream.Conn, describe func() events.ProcessState, state func(error)) {
	serve(ctx, conn, state, func(ctx context.Context, own *stream.Conn) (end func(), err error) {
		s := &processServer{describe: describe}
		return s.end, s.register(ctx, own)
	})
}

// processServer answers one request at a time.
type processServer struct {
	describe func() events.ProcessState

	mu    sync.Mutex
	ended bool
}

func (s *processServer) register(ctx context.Context, own *stream.Conn) error {
	service, err := micro.AddService(own.NATS(), micro.Config{
		Name: processService, Version: "1.0.0", Description: "What a process of poked is and does.", QueueGroupDisabled: true,
	})
	if err != nil {
		return fmt.Errorf("serve operators: %w", err)
	}
	handler := micro.ContextHandler(ctx, s.answer)
	if err := service.AddEndpoint(endpointProcess, handler, micro.WithEndpointSubject(processSubject)); err != nil {
		return fmt.Errorf("serve operators: %w", err)
	}
	return nil
}

func (s *processServer) answer(ctx context.Context, req micro.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || ctx.Err() != nil {
		return
	}
	_ = req.RespondJSON(s.describe())
}

func (s *processServer) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
}

// Processes returns what the running processes report about themselves, in any order. It waits
// until no further one answers.
func (c *Client) Processes(ctx context.Context) ([]events.ProcessState, error) {
	sub, err := c.conn.NATS().SubscribeSync(nats.NewInbox())
	if err != nil {
		return nil, fmt.Errorf("look for processes: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only on a connection that is closed
	answers, err := c.gather(ctx, processSubject, sub, time.Now().Add(firstPatience))
	if err != nil {
		return nil, fmt.Errorf("look for processes: %w", err)
	}
	var all []events.ProcessState
	for _, msg := range answers {
		var p events.ProcessState
		if json.Unmarshal(msg.Data, &p) == nil && p.ID != "" {
			all = append(all, p)
		}
	}
	return all, nil
}
