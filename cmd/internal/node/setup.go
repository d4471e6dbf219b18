package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"poked/events/stream"
	"poked/events/wait"
)

// setUpPause is the pause between two tries to set up the streams.
const setUpPause = time.Second

// setUp sets up the streams, or adopts them if another process creates them. It waits
// while NATS cannot answer or the streams do not exist yet, and passes the reason to
// waiting.
func (s Stack) setUp(ctx context.Context, conn *stream.Conn, t stream.Topology, waiting func(error)) error {
	have := func(ctx context.Context, t stream.Topology) error {
		if err := conn.Setup(ctx, t); err != nil {
			return err
		}
		return s.checkMapping(ctx, conn)
	}
	if s.Adopts {
		have = conn.Adopt
	}
	said := ""
	for {
		err := have(ctx, t)
		if !errors.Is(err, stream.ErrNotReady) {
			return err
		}
		waiting(err)
		if said != err.Error() { // log each reason once
			said = err.Error()
			s.Log.Warn("waiting for the streams", "error", err)
		}
		if err := wait.For(ctx, setUpPause); err != nil {
			return err
		}
	}
}

// checkMapping checks the subject mapping of the account, after it has added its own to an
// embedded server.
func (s Stack) checkMapping(ctx context.Context, conn *stream.Conn) error {
	if to := conn.Topology().Mapping(); to != "" && s.embedded != nil {
		if err := s.embedded.mapRooms(to); err != nil {
			return fmt.Errorf("map subjects: %w", err)
		}
	}
	mapped, err := conn.CheckMapping(ctx)
	if err == nil && !mapped {
		s.Log.Warn("nats maps no subjects: no stream takes what is published on room.*.> by others than poked", "mapping", conn.Topology().Mapping())
	}
	return err
}
