package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"poked/events"
	"poked/events/homeserver"
	"poked/events/httpserve"
	"poked/registry/problem"
)

// Identity is the owner of an access token.
type Identity struct {
	UserID   events.UserID
	DeviceID string // empty if the token belongs to no device

	asked uint64 // logouts seen when the homeserver was asked; see departures
	noted int64  // the newest notice of a logout then, with a shared database; see notices
}

// ErrUnknownToken reports that an access token has no owner, or no longer has one.
var ErrUnknownToken = errors.New("unknown access token")

// Authenticator returns the owner of an access token. It returns [ErrUnknownToken] if the
// token has none, and another error if it cannot find out; that error wraps
// [homeserver.ErrCannotTell] if the homeserver is the cause. No error may contain the token.
type Authenticator func(ctx context.Context, token string) (Identity, error)

// authenticate identifies the sender of a request by the token in the header
// Authorization. The query parameter that old versions of the specification allowed is
// not read, since it ends up in the logs of proxies.
func authenticate(ctx context.Context, auth Authenticator, r *http.Request) (Identity, error) {
	token, _, err := httpserve.Tokens(r)
	if err != nil {
		return Identity{}, problem.New(problem.InvalidParam, err.Error())
	}
	if token == "" {
		return Identity{}, problem.New(problem.MissingToken, "missing access token: send it in the header Authorization: Bearer")
	}
	identity, err := auth(ctx, token)
	if err != nil {
		return Identity{}, fmt.Errorf("authenticate: %w", refusal(err))
	}
	return identity, nil
}

// refusal turns an error of an authenticator or of the homeserver into the answer to
// the client. Only an explicit statement that the token is unknown may log a client
// out.
func refusal(err error) error {
	var answer *homeserver.Error
	known := errors.As(err, &answer)
	switch {
	case errors.Is(err, ErrUnknownToken), errors.Is(err, homeserver.ErrUnknownToken):
		return &problem.Error{Kind: problem.UnknownToken, Message: "unknown access token", SoftLogout: known && answer.SoftLogout}
	case known && answer.Errcode == "M_USER_LOCKED":
		return &problem.Error{Kind: problem.UserLocked, Message: "this account is locked", SoftLogout: answer.SoftLogout}
	case errors.Is(err, homeserver.ErrCannotTell), errors.Is(err, homeserver.ErrRefused):
		return &problem.Error{Kind: problem.NoHomeserver, Message: "the homeserver cannot be reached now, try again later", Cause: err}
	}
	return err
}
