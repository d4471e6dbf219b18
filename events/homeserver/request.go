package homeserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"poked/events"
)

// Limits of a request.
const (
	askTimeout    = 10 * time.Second
	maxAnswer     = 4 << 20  // bytes of an answer that is read whole
	maxDrainBytes = 64 << 10 // bytes read from the rest of an answer, so that its connection can be reused
)

// Paths of the client-server API.
const (
	prefix        = "/_matrix/client/v3"
	pathWhoami    = prefix + "/account/whoami"
	pathPushRules = prefix + "/pushrules/"
	pathPushers   = prefix + "/pushers"
	pathDevices   = prefix + "/devices"
	pathJoined    = prefix + "/joined_rooms"
)

// Answer is a homeserver's whole answer.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Errcode returns the errcode of an answer that is a Matrix error, and "" otherwise.
func (a *Answer) Errcode() string {
	var e *Error
	if errors.As(a.asError(), &e) {
		return e.Errcode
	}
	return ""
}

// get sends a GET and decodes the JSON answer into value.
func (c *Client) get(ctx context.Context, path string, query url.Values, token string, value any) error {
	answer, err := c.ask(ctx, path, query, token)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(answer.Body, value); err != nil {
		return fmt.Errorf("%w: the answer does not follow the specification", ErrCannotTell)
	}
	return nil
}

// ask sends a GET and returns an error unless the status is 2xx.
func (c *Client) ask(ctx context.Context, path string, query url.Values, token string) (*Answer, error) {
	answer, err := c.do(ctx, http.MethodGet, path, query.Encode(), bearer(token), nil)
	if err != nil {
		return nil, err
	}
	return answer, answer.asError()
}

// do sends a request and reads the whole answer.
func (c *Client) do(ctx context.Context, method, path, query string, header http.Header, body io.Reader) (*Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	response, err := c.send(ctx, method, path, query, header, body)
	if err != nil {
		return nil, err
	}
	defer drain(response)
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return nil, cannotTell(err)
	}
	if len(text) > maxAnswer {
		return nil, fmt.Errorf("%w: the answer has more than %d bytes", ErrCannotTell, maxAnswer)
	}
	return &Answer{Status: response.StatusCode, Header: response.Header, Body: text}, nil
}

// send sends a request. The path must be escaped.
func (c *Client) send(ctx context.Context, method, path, query string, header http.Header, body io.Reader) (*http.Response, error) {
	target := c.base.String() + path
	if query != "" {
		target += "?" + query
	}
	request, err := http.NewRequestWithContext(ctx, method, target, body) //nolint:gosec // G704: the host is the operator's, the path ours
	if err != nil {
		return nil, cannotTell(err)
	}
	request.Header = header
	response, err := c.http.Do(request) //nolint:gosec // G704: as above
	if err != nil {
		return nil, cannotTell(err)
	}
	return response, nil
}

func bearer(token string) http.Header {
	return http.Header{"Authorization": {"Bearer " + token}, "User-Agent": {"poked"}}
}

func drain(response *http.Response) {
	_, _ = io.CopyN(io.Discard, response.Body, maxDrainBytes)
	_ = response.Body.Close() // it was only read
}

// Identity is the owner of an access token.
type Identity struct {
	UserID   events.UserID
	DeviceID string // "" if the token belongs to no device
}

// Whoami returns the owner of a token (client-server API, "GET
// /_matrix/client/v3/account/whoami"). It works for every kind of token.
func (c *Client) Whoami(ctx context.Context, token string) (Identity, error) {
	var body struct {
		UserID   events.UserID `json:"user_id"`
		DeviceID string        `json:"device_id"`
	}
	if err := c.get(ctx, pathWhoami, nil, token, &body); err != nil {
		return Identity{}, err
	}
	if !body.UserID.Valid() || len(body.DeviceID) > events.MaxIDBytes {
		return Identity{}, fmt.Errorf("%w: it names no user", ErrCannotTell)
	}
	return Identity{UserID: body.UserID, DeviceID: body.DeviceID}, nil
}
