package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"poked/events"
)

// Identity is who an access token belongs to.
type Identity struct {
	UserID   events.UserID
	DeviceID string // empty if the token belongs to no device
}

// ErrUnknownToken says that an access token belongs to nobody, or no longer.
var ErrUnknownToken = errors.New("unknown access token")

// Authenticator tells who an access token belongs to. It returns
// [ErrUnknownToken] for a token that belongs to nobody, and any other error when
// it cannot tell; no error may repeat the token.
type Authenticator func(ctx context.Context, token string) (Identity, error)

// authenticate reads the token of a request. It stands in the header
// Authorization and nowhere else: the query parameter that old versions of the
// specification allowed ends up in the logs of proxies.
func authenticate(ctx context.Context, auth Authenticator, r *http.Request) (Identity, error) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	token = strings.TrimSpace(token)
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return Identity{}, fail(missingToken, "an access token is needed in the header Authorization: Bearer")
	}
	identity, err := auth(ctx, token)
	if errors.Is(err, ErrUnknownToken) {
		return Identity{}, fail(unknownToken, "this access token is not known")
	}
	if err != nil {
		return Identity{}, fmt.Errorf("authenticate: %w", err)
	}
	return identity, nil
}
