package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"poked/events"
	"poked/events/homeserver"
	"poked/events/httpserve"
)

// Identity is who an access token belongs to.
type Identity struct {
	UserID   events.UserID
	DeviceID string // empty if the token belongs to no device

	asked uint64 // when the homeserver was asked, see departures
}

// ErrUnknownToken says that an access token belongs to nobody, or no longer.
var ErrUnknownToken = errors.New("unknown access token")

// Authenticator tells who an access token belongs to. It returns
// [ErrUnknownToken] for a token that belongs to nobody, and any other error when
// it cannot tell, which wraps [homeserver.ErrCannotTell] if that is the homeserver's
// doing; no error may repeat the token.
type Authenticator func(ctx context.Context, token string) (Identity, error)

// authenticate reads the token of a request. It stands in the header
// Authorization and nowhere else: the query parameter that old versions of the
// specification allowed ends up in the logs of proxies.
func authenticate(ctx context.Context, auth Authenticator, r *http.Request) (Identity, error) {
	token, _, err := httpserve.Tokens(r)
	if err != nil {
		return Identity{}, fail(invalidParam, err.Error())
	}
	if token == "" {
		return Identity{}, fail(missingToken, "an access token is needed in the header Authorization: Bearer")
	}
	identity, err := auth(ctx, token)
	if err != nil {
		return Identity{}, fmt.Errorf("authenticate: %w", refusal(err))
	}
	return identity, nil
}

// refusal makes an error of an authenticator, or of the homeserver, what its client
// is told. Only what says in so many words that the token is nobody's may log a
// client out.
func refusal(err error) error {
	var answer *homeserver.Error
	known := errors.As(err, &answer)
	switch {
	case errors.Is(err, ErrUnknownToken), errors.Is(err, homeserver.ErrUnknownToken):
		return &apiError{problem: unknownToken, message: "this access token is not known", softLogout: known && answer.SoftLogout}
	case known && answer.Errcode == "M_USER_LOCKED":
		return &apiError{problem: userLocked, message: "this account is locked", softLogout: answer.SoftLogout}
	case errors.Is(err, homeserver.ErrCannotTell), errors.Is(err, homeserver.ErrRefused):
		return &apiError{problem: noHomeserver, message: "the homeserver cannot be asked now, try again later", cause: err}
	}
	return err
}
