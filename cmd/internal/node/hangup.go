package node

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"poked/events/stream"
)

// hangups is SIGHUP, which asks a server to read its files again, and by default would
// end it without a stop. The token file is read again by itself when it has changed, and
// the certificates and credentials for NATS at each connect; so what is left is to say
// whether they can be read, before that matters.
type hangups struct {
	came chan os.Signal
	log  *slog.Logger
	nats stream.Config
}

// onHangup begins to listen. close must follow.
func onHangup(log *slog.Logger, nats stream.Config) *hangups {
	h := &hangups{came: make(chan os.Signal, 1), log: log, nats: nats}
	signal.Notify(h.came, syscall.SIGHUP)
	return h
}

// run answers until ctx ends.
func (h *hangups) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-h.came:
		}
		h.answer()
	}
}

func (h *hangups) answer() {
	switch {
	case h.nats.Credentials == (stream.Credentials{}):
		h.log.Info("SIGHUP: the token file, if there is one, is read again whenever it changes; there is nothing else to read")
	case h.nats.Credentials.Check() != nil:
		h.log.Error("SIGHUP: the credentials for nats cannot be read, the next connect will fail", "error", h.nats.Credentials.Check())
	default:
		h.log.Info("SIGHUP: the credentials and certificates for nats are good and are used at the next connect")
	}
}

func (h *hangups) close() { signal.Stop(h.came) }
