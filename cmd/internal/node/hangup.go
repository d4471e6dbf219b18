package node

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"poked/events/stream"
)

// hangups handles SIGHUP, which would otherwise end the process without a clean stop.
// Each actor rereads its files at once. Credentials and certificates for NATS are read
// at each connect anyway, so SIGHUP only checks that the next connect can read them.
type hangups struct {
	signals chan os.Signal
	log     *slog.Logger
	nats    stream.Config
}

// onHangup starts to catch the signal. close must follow.
func onHangup(log *slog.Logger, nats stream.Config) *hangups {
	h := &hangups{signals: make(chan os.Signal, 1), log: log, nats: nats}
	signal.Notify(h.signals, syscall.SIGHUP)
	return h
}

// actor returns the actor that handles the signals, also one caught during the start.
func (h *hangups) actor(others []Actor) Actor {
	return Actor{Name: "hangups", Run: func(ctx context.Context) error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-h.signals:
				h.reread(others)
			}
		}
	}}
}

func (h *hangups) reread(actors []Actor) {
	h.log.Info("SIGHUP received, rereading files")
	for _, a := range actors {
		if a.reread == nil {
			continue
		}
		if err := a.reread(); err != nil {
			h.log.Error("a file was not reread, its previous content stays in effect", "actor", a.Name, "error", err)
		}
	}
	if h.nats.Credentials == (stream.Credentials{}) {
		return
	}
	if err := h.nats.Credentials.Check(); err != nil {
		h.log.Error("the nats credentials cannot be read, the next connect will fail", "error", err)
		return
	}
	h.log.Info("the nats credentials and certificates are valid, the next connect uses them")
}

func (h *hangups) close() { signal.Stop(h.signals) }
