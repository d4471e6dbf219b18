package node

import (
	"context"
	"crypto/rand"
	"log/slog"
	"os"
	"slices"
	"time"

	"poked/events"
	"poked/events/operator"
	"poked/events/stream"
)

// processActor returns the actor that reports to operators what the process is, and whether it
// is ready.
func processActor(conn *stream.Conn, o *Ops, actors []Actor, log *slog.Logger) Actor {
	p := events.ProcessState{ID: rand.Text(), PID: os.Getpid(), Version: ReadVersion().Version, Began: time.Now()}
	p.Host, _ = os.Hostname() // one without a name is told by its other properties
	for _, a := range actors {
		if slices.Contains([]string{"registry", "dispatcher", "bridge"}, a.Name) {
			p.Roles = append(p.Roles, a.Name)
		}
		if a.worker != "" {
			p.Worker = a.worker
		}
	}
	describe := func() events.ProcessState {
		p := p
		p.Unready = o.reasons()
		return p
	}
	return Actor{Name: "process", Run: func(ctx context.Context) error {
		operator.ServeProcess(ctx, conn, describe, func(err error) {
			if err != nil {
				log.Warn("operators do not see this process, trying until they do", "error", err)
			}
		})
		return nil
	}}
}
