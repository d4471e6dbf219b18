// Package auth tells who sends a request: it finds the owner of an access token, in a file
// ([TokenFile]) or by asking the homeserver ([HomeserverTokens]). Tokens are not kept in memory,
// only digests with a key of this process.
//
// # Guarantees
//
// A logout wins over what was asked before it: the homeserver's answer about a token is not used,
// and a transaction that began with it is refused ([HomeserverTokens.WithClaim]). Registries that
// share a database learn of it through that ([store.Notices]), and use no cached token while they
// cannot.
//
// Guessed tokens keep nobody out: requests with unknown tokens wait for one of 16 places, and
// more are refused (429), so that known clients are served.
//
// # What fails, and how
//
//   - The homeserver cannot be asked: 502. Only its explicit statement that a token is unknown
//     logs a client out.
//   - The file cannot be read, may be incomplete or holds no tokens: at the start an error, later
//     one line in the log, and the previous tokens stay valid.
//   - A request has two different access tokens: 400, since the homeserver may take it for another
//     user's.
package auth

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

// Authenticate identifies the sender of a request by the token in the header
// Authorization. The query parameter that old versions of the specification allowed is
// not read, since it ends up in the logs of proxies.
func Authenticate(ctx context.Context, auth Authenticator, r *http.Request) (Identity, error) {
	token, _, err := httpserve.Tokens(r)
	if err != nil {
		return Identity{}, problem.New(problem.InvalidParam, err.Error())
	}
	if token == "" {
		return Identity{}, problem.New(problem.MissingToken, "missing access token: send it in the header Authorization: Bearer")
	}
	identity, err := auth(ctx, token)
	if err != nil {
		return Identity{}, fmt.Errorf("authenticate: %w", Refusal(err))
	}
	return identity, nil
}

// Refusal turns an error of an authenticator or of the homeserver into the answer to
// the client. Only an explicit statement that the token is unknown may log a client
// out.
func Refusal(err error) error {
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
