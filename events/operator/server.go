package operator

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/micro"

	"poked/events/stream"
	"poked/events/wait"
)

const (
	// servePause is the pause between two attempts to serve operators.
	servePause = 10 * time.Second
	// deniedCheck is how often a service checks whether NATS permits its subscriptions.
	deniedCheck = 2 * time.Second
)

// service is what a process answers to operators.
type service struct {
	config    micro.Config
	endpoints []endpoint
}

// endpoint answers the requests on one subject.
type endpoint struct {
	name, subject string
	answer        func(context.Context, micro.Request)
}

// turns answers one request at a time, so that operators cost a process one processor, and a
// registry one connection to its database, at most.
type turns struct {
	mu    sync.Mutex
	ended bool
}

// take answers a request, unless the turns or ctx have ended.
func (t *turns) take(ctx context.Context, req micro.Request, answer func(context.Context, micro.Request)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.ended && ctx.Err() == nil {
		answer(ctx, req)
	}
}

// end waits for a request that is being answered, and answers no other.
func (t *turns) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
}

// serve serves until ctx ends, as [ServeDispatcher] does.
func (s *service) serve(ctx context.Context, conn *stream.Conn, state func(error)) {
	for ctx.Err() == nil {
		if err := s.serveOnce(ctx, conn, func() { state(nil) }); err != nil {
			state(err)
			_ = wait.For(ctx, servePause) // the loop asks whether ctx has ended
		}
	}
}

// serveOnce serves until ctx ends or NATS does not permit it. It calls up when operators can
// ask.
func (s *service) serveOnce(ctx context.Context, conn *stream.Conn, up func()) error {
	own, err := conn.Beside(ctx, "operator")
	if err != nil {
		if ctx.Err() != nil {
			return nil //nolint:nilerr // asked to stop while NATS was away
		}
		return fmt.Errorf("serve operators: %w", err)
	}
	var requests turns
	err = s.register(ctx, own, &requests)
	if err == nil {
		err = untilDenied(ctx, own, up)
	}
	requests.end()
	// Closing stops the service as well. Stopping it first would drain each of its
	// subscriptions for nothing.
	own.NATS().Close()
	return err
}

// register adds the service to a connection.
func (s *service) register(ctx context.Context, own *stream.Conn, requests *turns) error {
	added, err := micro.AddService(own.NATS(), s.config)
	if err != nil {
		return fmt.Errorf("serve operators: %w", err)
	}
	for _, e := range s.endpoints {
		handler := micro.ContextHandler(ctx, func(ctx context.Context, req micro.Request) { requests.take(ctx, req, e.answer) })
		if err := added.AddEndpoint(e.name, handler, micro.WithEndpointSubject(e.subject)); err != nil {
			return fmt.Errorf("serve operators: %w", err)
		}
	}
	return nil
}

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
