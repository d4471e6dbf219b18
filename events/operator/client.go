package operator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"poked/events"
	"poked/events/stream"
	"poked/events/wait"
)

const (
	// firstPatience is how long the first process may take to answer all that are asked.
	firstPatience = 2 * time.Second
	// nextPatience is how long each further one may take after the one before.
	nextPatience = 300 * time.Millisecond
	// requestPatience is the limit of one request to a dispatcher or registry.
	requestPatience = 10 * time.Second
)

// ErrNoDispatcher means that no running dispatcher can be reached.
var ErrNoDispatcher = fmt.Errorf("no dispatcher answered within %s: is one running and connected to this NATS?", firstPatience)

// Client asks running processes, and reads and changes the stream DEAD. It is safe for concurrent
// use.
type Client struct {
	conn *stream.Conn
}

// NewClient returns a client over conn. The methods for dead letters need one that has joined
// the streams ([stream.Conn.Join]); the others ask over NATS alone.
func NewClient(conn *stream.Conn) *Client { return &Client{conn: conn} }

// Pushers yields what the running dispatchers know of the pushers that filter admits. It
// omits pushers without a delivery since their dispatcher began, unless the filter names
// the user. It ends with the first error, such as [ErrNoDispatcher].
func (c *Client) Pushers(ctx context.Context, filter events.PusherFilter) iter.Seq2[events.PusherState, error] {
	return list[events.PusherState](ctx, c, endpointPushers, listRequest{Filter: filter})
}

// Gateways yields what the running dispatchers know of push gateways, under the same
// terms. An origin is yielded once for each dispatcher that uses it: each has its own
// concurrency limit and circuit breaker there.
func (c *Client) Gateways(ctx context.Context) iter.Seq2[events.GatewayState, error] {
	return list[events.GatewayState](ctx, c, endpointGateways, listRequest{})
}

// RetryPushers retries the lagging pushers that filter admits now, whatever their
// backoff. A gateway's Retry-After is still honoured.
func (c *Client) RetryPushers(ctx context.Context, filter events.PusherFilter) (n events.RetriedPushers, err error) {
	workers, err := c.dispatchers(ctx)
	for _, worker := range workers {
		var answer events.RetriedPushers
		if err := c.askDispatcher(ctx, worker, endpointRetry, listRequest{Filter: filter}, &answer); err != nil {
			return n, err
		}
		n.Pushers, n.Retried = n.Pushers+answer.Pushers, n.Retried+answer.Retried
	}
	return n, err
}

// SkipPushers puts aside the poke at which each lagging pusher is stuck that filter admits:
// it becomes a dead letter, and the pusher goes on with what comes after it.
func (c *Client) SkipPushers(ctx context.Context, filter events.PusherFilter) (n events.SkippedPushers, err error) {
	workers, err := c.dispatchers(ctx)
	for _, worker := range workers {
		var answer events.SkippedPushers
		if err := c.askDispatcher(ctx, worker, endpointSkip, listRequest{Filter: filter}, &answer); err != nil {
			return n, err
		}
		n.Pushers, n.Skipped = n.Pushers+answer.Pushers, n.Skipped+answer.Skipped
	}
	return n, err
}

// Dispatchers returns what the running dispatchers report about their work as a whole, in the
// order of their names. The error, such as [ErrNoDispatcher], is about those that did not
// answer; the others are returned with it.
func (c *Client) Dispatchers(ctx context.Context) ([]events.DispatcherState, error) {
	workers, err := c.dispatchers(ctx)
	if err != nil {
		return nil, err
	}
	states, errs := make([]events.DispatcherState, len(workers)), make([]error, len(workers))
	var asking sync.WaitGroup
	for i, worker := range workers {
		asking.Go(func() { errs[i] = c.askDispatcher(ctx, worker, endpointState, listRequest{}, &states[i]) })
	}
	asking.Wait()
	var answered []events.DispatcherState
	for i := range states {
		if errs[i] == nil {
			answered = append(answered, states[i])
		}
	}
	return answered, errors.Join(errs...)
}

// list reads one page after the other from every dispatcher.
func list[T any](ctx context.Context, c *Client, endpoint string, request listRequest) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		workers, err := c.dispatchers(ctx)
		if err != nil {
			yield(none, err)
			return
		}
		for _, worker := range workers {
			for item, err := range listFrom[T](ctx, c, worker, endpoint, request) {
				if !yield(item, err) || err != nil {
					return
				}
			}
		}
	}
}

func listFrom[T any](ctx context.Context, c *Client, worker, endpoint string, request listRequest) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for page := (listPage{More: true}); page.More; {
			request.AfterPusher, request.AfterOrigin = page.LastPusher, page.LastOrigin
			page = listPage{}
			err := c.askDispatcher(ctx, worker, endpoint, request, &page)
			for _, raw := range page.Items {
				var item T
				if err := json.Unmarshal(raw, &item); err != nil {
					yield(item, fmt.Errorf("decode answer of dispatcher %s: %w", worker, err))
					return
				}
				if !yield(item, nil) {
					return
				}
			}
			if err != nil {
				var none T
				yield(none, err)
				return
			}
		}
	}
}

// askDispatcher sends one request to one dispatcher and decodes the answer.
func (c *Client) askDispatcher(ctx context.Context, worker, endpoint string, request listRequest, answer any) error {
	return c.ask(ctx, "dispatcher "+worker, dispatcherSubject(worker, endpoint), request, answer)
}

// ask sends one request on a subject and decodes the answer. Errors name who is asked.
func (c *Client) ask(ctx context.Context, who, subject string, request, answer any) error {
	raw, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, requestPatience)
	defer cancel()
	msg, err := c.conn.NATS().RequestWithContext(ctx, subject, raw)
	if err != nil {
		return fmt.Errorf("ask %s: %w", who, err)
	}
	if reason := msg.Header.Get(micro.ErrorHeader); reason != "" {
		return fmt.Errorf("ask %s: %s", who, reason)
	}
	if err := json.Unmarshal(msg.Data, answer); err != nil {
		return fmt.Errorf("decode answer of %s: %w", who, err)
	}
	return nil
}

// dispatchers returns the names of the running dispatchers, in order.
func (c *Client) dispatchers(ctx context.Context) ([]string, error) {
	subject, err := micro.ControlSubject(micro.PingVerb, dispatcherService, "")
	if err != nil {
		return nil, fmt.Errorf("look for dispatchers: %w", err)
	}
	sub, err := c.conn.NATS().SubscribeSync(nats.NewInbox())
	if err != nil {
		return nil, fmt.Errorf("look for dispatchers: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only on a connection that is closed
	deadline := time.Now().Add(firstPatience)
	for time.Now().Before(deadline) {
		workers, err := c.ping(ctx, subject, sub, deadline)
		if err != nil || len(workers) > 0 {
			return workers, err
		}
	}
	return nil, ErrNoDispatcher
}

// ping asks once which dispatchers are running, and collects the answers until no more
// arrive. A dispatcher that is starting may not answer yet, so the caller repeats a ping
// without answers.
func (c *Client) ping(ctx context.Context, subject string, sub *nats.Subscription, deadline time.Time) (workers []string, err error) {
	answers, err := c.gather(ctx, subject, sub, deadline)
	if err != nil {
		return nil, fmt.Errorf("look for dispatchers: %w", err)
	}
	for _, msg := range answers {
		var pong micro.Ping
		if err := json.Unmarshal(msg.Data, &pong); err == nil && pong.Metadata[workerKey] != "" {
			workers = append(workers, pong.Metadata[workerKey])
		}
	}
	slices.Sort(workers)
	return slices.Compact(workers), nil
}

// gather asks everybody who listens to a subject, and collects the answers until the first has
// not come by the deadline, or no further one comes. If nobody listens it waits for a moment
// and returns none.
func (c *Client) gather(ctx context.Context, subject string, sub *nats.Subscription, deadline time.Time) (answers []*nats.Msg, err error) {
	if err := c.conn.NATS().PublishRequest(subject, sub.Subject, nil); err != nil {
		return nil, err
	}
	for {
		until := time.Now().Add(nextPatience)
		if len(answers) == 0 {
			until = deadline
		}
		msg, err := next(ctx, sub, until)
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case errors.Is(err, context.DeadlineExceeded):
			return answers, nil
		case errors.Is(err, nats.ErrNoResponders):
			_ = wait.For(ctx, nextPatience) // what follows looks at ctx
			return nil, nil
		case err != nil:
			return nil, err
		}
		answers = append(answers, msg)
	}
}

func next(ctx context.Context, sub *nats.Subscription, until time.Time) (*nats.Msg, error) {
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	msg, err := sub.NextMsgWithContext(ctx)
	if err == nil && len(msg.Data) == 0 && msg.Header.Get("Status") == "503" {
		return nil, nats.ErrNoResponders
	}
	return msg, err
}
