package operator

import (
	"context"
	"encoding/json"
	"fmt"
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
	s := service{
		config: micro.Config{Name: processService, Version: "1.0.0", Description: "What a process of poked is and does.", QueueGroupDisabled: true},
		endpoints: []endpoint{{endpointProcess, processSubject, func(_ context.Context, req micro.Request) {
			_ = req.RespondJSON(describe()) // a client that does not receive the answer asks again
		}}},
	}
	s.serve(ctx, conn, state)
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
