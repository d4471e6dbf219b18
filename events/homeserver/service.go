package homeserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"time"

	"poked/events"
)

// The state of a room is the one answer that may be large: about 100 MB for 100 000
// members. It is read event by event.
const (
	stateTimeout  = 5 * time.Minute
	maxStateBytes = 512 << 20
)

// Service sends requests as an application service, on behalf of users in its namespace
// (application service API, "Identity assertion").
type Service struct {
	client *Client
	token  string
}

// Service returns the client as the application service with this as_token.
func (c *Client) Service(token string) *Service { return &Service{client: c, token: token} }

func as(user events.UserID) url.Values { return url.Values{"user_id": {string(user)}} }

// Whoami returns the application service's own user. An error that wraps [ErrUnknownToken]
// means that the homeserver has not loaded the registration, or another one.
func (s *Service) Whoami(ctx context.Context) (Identity, error) { return s.client.Whoami(ctx, s.token) }

// JoinedRooms returns the rooms that a user is joined to (client-server API,
// "GET /_matrix/client/v3/joined_rooms").
func (s *Service) JoinedRooms(ctx context.Context, user events.UserID) ([]events.RoomID, error) {
	var body struct {
		Rooms []events.RoomID `json:"joined_rooms"`
	}
	err := s.client.get(ctx, pathJoined, as(user), s.token, &body)
	return body.Rooms, err
}

// RoomState yields the events of a room's current state, on behalf of a user who is in
// the room (client-server API, "GET /_matrix/client/v3/rooms/{roomId}/state"). It ends
// with the first error.
func (s *Service) RoomState(ctx context.Context, room events.RoomID, user events.UserID) iter.Seq2[json.RawMessage, error] {
	return func(yield func(json.RawMessage, error) bool) {
		ctx, cancel := context.WithTimeout(ctx, stateTimeout)
		defer cancel()
		path := prefix + "/rooms/" + url.PathEscape(string(room)) + "/state"
		response, err := s.client.send(ctx, http.MethodGet, path, as(user).Encode(), bearer(s.token), nil)
		if err != nil {
			yield(nil, err)
			return
		}
		defer drain(response)
		if response.StatusCode/100 != 2 {
			yield(nil, readError(response))
			return
		}
		if err := eachElement(io.LimitReader(response.Body, maxStateBytes), yield); err != nil {
			yield(nil, err)
		}
	}
}

func readError(response *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(response.Body, maxDrainBytes))
	if err != nil {
		return cannotTell(err)
	}
	answer := &Answer{Status: response.StatusCode, Body: text}
	return answer.asError()
}

// eachElement yields the elements of a JSON array as they are read. It returns an error
// if the array is incomplete, and nil if yield stops.
func eachElement(in io.Reader, yield func(json.RawMessage, error) bool) error {
	decoder := json.NewDecoder(in)
	if start, err := decoder.Token(); err != nil || start != json.Delim('[') {
		return fmt.Errorf("%w: its answer is no JSON array", errors.Join(ErrCannotTell, err))
	}
	for decoder.More() {
		var element json.RawMessage
		if err := decoder.Decode(&element); err != nil {
			return cannotTell(err)
		}
		if !yield(element, nil) {
			return nil
		}
	}
	if _, err := decoder.Token(); err != nil {
		return cannotTell(err)
	}
	return nil
}
