package node

import (
	"context"
	"errors"
	"time"

	"poked/events/stream"
	"poked/events/wait"
)

// setUpPause is the pause between two tries to have the streams.
const setUpPause = time.Second

// setUp has the streams made, or found where they are another's to make, and
// waits while NATS cannot say, or nobody has made them yet. waiting hears why.
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
		if said != err.Error() { // once for each reason
			said = err.Error()
			s.Log.Warn("waiting for the streams", "error", err)
		}
		if err := wait.For(ctx, setUpPause); err != nil {
			return err
		}
	}
}
