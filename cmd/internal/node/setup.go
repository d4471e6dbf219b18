package node

import (
	"context"
	"errors"
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
	have := conn.Setup
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
