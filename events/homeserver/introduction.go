package homeserver

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"
)

// askAgain is the pause before the homeserver is asked again whether it knows a
// registration.
const askAgain = 5 * time.Second

// Introduction finds out whether the homeserver knows the as_token of the registration, and
// says so in the log. Without that the homeserver sends no events, and refuses every
// request of poked.
type Introduction struct {
	service *Service
	log     *slog.Logger
	unknown atomic.Bool // the last answer was that the token is unknown
}

// Introduce returns an introduction of an application service. It does not ask yet.
func Introduce(service *Service, log *slog.Logger) *Introduction {
	return &Introduction{service: service, log: log}
}

// Run asks until the homeserver knows the token, or ctx ends.
func (i *Introduction) Run(ctx context.Context) {
	away := false
	for {
		who, err := i.service.Whoami(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			i.log.Info("the homeserver knows poked's registration", "user_id", string(who.UserID))
		case errors.Is(err, ErrCannotTell) && !away:
			away = true
			i.log.Warn("the homeserver cannot be asked yet whether it knows poked's registration", "error", err)
		}
		i.Note(err)
		if !errors.Is(err, ErrCannotTell) && !errors.Is(err, ErrUnknownToken) {
			return // a refusal is an answer to somebody whom it knows
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(askAgain):
		}
	}
}

// Note takes in the result of a request with the as_token, nil if there was no error. The
// first refusal of the token is logged as a warning.
func (i *Introduction) Note(err error) {
	switch {
	case errors.Is(err, ErrUnknownToken):
		if !i.unknown.Swap(true) {
			i.log.Warn("the homeserver does not know poked's registration: load the file and restart the homeserver, or give poked the same file", "error", err)
		}
	case errors.Is(err, ErrCannotTell):
	default:
		i.unknown.Store(false)
	}
}

// Unready returns why requests with the as_token cannot succeed, or "".
func (i *Introduction) Unready() string {
	if i.unknown.Load() {
		return "the homeserver does not know the as_token of poked's registration"
	}
	return ""
}
