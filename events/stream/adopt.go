package stream

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Adopt is [Conn.Setup] for a process that may lack the permission to make streams. It
// changes nothing that exists, and makes what is missing if it may. If it may not, it
// fails with [ErrNotReady] until another process has made it.
func (c *Conn) Adopt(ctx context.Context, asked Topology) error {
	t, err := c.fit(ctx, asked)
	if err != nil {
		return c.notReady(err)
	}
	for _, name := range t.names() {
		_, err := c.askStream(ctx, name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return c.Setup(ctx, asked) // another process may have made them meanwhile, with its number of streams
		}
		if err != nil {
			return c.notReady(fmt.Errorf("look up stream %s: %w", name, err))
		}
	}
	return c.notReady(c.open(ctx, t))
}

// names returns the names of all streams, including those behind the buckets.
func (t Topology) names() (names []string) {
	for _, cfg := range t.streams() {
		names = append(names, cfg.Name)
	}
	for _, cfg := range t.buckets() {
		names = append(names, bucketStream(cfg.Bucket))
	}
	return names
}

// bucketStream returns the name of the stream behind a bucket (NATS ADR-8).
func bucketStream(bucket string) string { return "KV_" + bucket }

// errCodeUnavailable is the server's error code for a cluster without a leader.
const errCodeUnavailable jetstream.ErrorCode = 10008

// notReady wraps an error in [ErrNotReady] if trying again may help, and otherwise
// returns it as it is. A request that the server did not permit gets no answer: then the
// error names what was not permitted.
func (c *Conn) notReady(err error) error {
	var api *jetstream.APIError
	silent := errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout)
	switch {
	case err == nil:
		return nil
	case silent:
		if denied := c.denied.Swap(nil); denied != nil {
			return fmt.Errorf("%w: %s", ErrNotReady, *denied)
		}
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, ErrNoStreams),
		errors.Is(err, nats.ErrDisconnected), errors.Is(err, nats.ErrReconnectBufExceeded):
	case errors.As(err, &api) && api.ErrorCode == errCodeUnavailable:
	default:
		return err
	}
	return fmt.Errorf("%w: %w", ErrNotReady, err)
}
