package homeserver

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"poked/events"
)

// Account sends requests about the account of one user, with an access token of that user
// or as an application service.
type Account struct {
	client *Client
	user   events.UserID
	token  string
	query  url.Values // names the user, for an application service
}

// Account returns the account of a user whose access token this is.
func (c *Client) Account(user events.UserID, token string) Account {
	return Account{client: c, user: user, token: token}
}

// Account returns the account of a user in the application service's namespace.
func (s *Service) Account(user events.UserID) Account {
	return Account{client: s.client, user: user, token: s.token, query: as(user)}
}

// User returns the owner of the account.
func (a Account) User() events.UserID { return a.user }

// PushRules returns the user's push rules, {"global":{…}} (client-server API, "GET
// /_matrix/client/v3/pushrules/").
func (a Account) PushRules(ctx context.Context) (json.RawMessage, error) {
	var rules struct {
		Global json.RawMessage `json:"global"`
	}
	answer, err := a.client.ask(ctx, pathPushRules, a.query, a.token)
	if err != nil {
		return nil, err
	}
	if json.Unmarshal(answer.Body, &rules) != nil || len(rules.Global) == 0 || rules.Global[0] != '{' {
		return nil, fmt.Errorf("%w: its push rules have no global rules", ErrCannotTell)
	}
	return answer.Body, nil
}

// IgnoredUsers returns the user's account data m.ignored_user_list, null if there is none
// (client-server API, "GET /_matrix/client/v3/user/{userId}/account_data/{type}").
func (a Account) IgnoredUsers(ctx context.Context) (json.RawMessage, error) {
	return a.data(ctx, "m.ignored_user_list")
}

// data returns account data of a type, null if there is none.
func (a Account) data(ctx context.Context, name string) (content json.RawMessage, err error) {
	path := prefix + "/user/" + url.PathEscape(string(a.user)) + "/account_data/" + name
	err = a.client.get(ctx, path, a.query, a.token, &content)
	if IsErrcode(err, "M_NOT_FOUND") {
		return json.RawMessage("null"), nil
	}
	return content, err
}

// DoNotDisturb returns the user's account data m.do_not_disturb, or what it is called before it is
// part of the specification (MSC4359), null if there is neither.
func (a Account) DoNotDisturb(ctx context.Context) (data json.RawMessage, err error) {
	for _, name := range events.DoNotDisturbTypes() {
		if data, err = a.data(ctx, name); err != nil || string(data) != "null" {
			return data, err
		}
	}
	return data, nil
}

// Pusher is a pusher that the homeserver has.
type Pusher struct {
	AppID    string
	Pushkey  string
	Kind     string
	DeviceID string          // "" unless the homeserver supports MSC3881
	Raw      json.RawMessage // JSON object, as the homeserver shows it to the user
}

// Pushers returns the pushers that the homeserver has of the user (client-server API, "GET
// /_matrix/client/v3/pushers").
func (a Account) Pushers(ctx context.Context) ([]Pusher, error) {
	var body struct {
		Pushers []json.RawMessage `json:"pushers"`
	}
	if err := a.client.get(ctx, pathPushers, a.query, a.token, &body); err != nil {
		return nil, err
	}
	pushers := make([]Pusher, 0, len(body.Pushers))
	for _, raw := range body.Pushers {
		var p struct {
			AppID    string `json:"app_id"`
			Pushkey  string `json:"pushkey"`
			Kind     string `json:"kind"`
			DeviceID string `json:"device_id"`
			MSC3881  string `json:"org.matrix.msc3881.device_id"`
		}
		if err := json.Unmarshal(raw, &p); err != nil {
			return nil, fmt.Errorf("%w: one of its pushers does not follow the specification", ErrCannotTell)
		}
		if p.DeviceID == "" {
			p.DeviceID = p.MSC3881
		}
		pushers = append(pushers, Pusher{AppID: p.AppID, Pushkey: p.Pushkey, Kind: p.Kind, DeviceID: p.DeviceID, Raw: raw})
	}
	return pushers, nil
}

// DeletePusher deletes a pusher at the homeserver (client-server API, "POST
// /_matrix/client/v3/pushers/set"). Deleting one that does not exist succeeds.
func (a Account) DeletePusher(ctx context.Context, appID, pushkey string) error {
	body, err := json.Marshal(map[string]any{"app_id": appID, "pushkey": pushkey, "kind": nil})
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	header := bearer(a.token)
	header.Set("Content-Type", "application/json")
	answer, err := a.client.do(ctx, http.MethodPost, pathPushers+"/set", a.query.Encode(), header, bytes.NewReader(body))
	if err != nil {
		return err
	}
	return answer.asError()
}

// Devices returns the ids of the user's devices (client-server API, "GET
// /_matrix/client/v3/devices").
func (a Account) Devices(ctx context.Context) ([]string, error) {
	var body struct {
		Devices []struct {
			ID string `json:"device_id"`
		} `json:"devices"`
	}
	err := a.client.get(ctx, pathDevices, a.query, a.token, &body)
	ids := make([]string, 0, len(body.Devices))
	for _, d := range body.Devices {
		ids = append(ids, d.ID)
	}
	return ids, err
}

// HasDevice reports whether the user still has a device (client-server API, "GET
// /_matrix/client/v3/devices/{deviceId}"). It is false only for M_NOT_FOUND.
func (a Account) HasDevice(ctx context.Context, device string) (bool, error) {
	_, err := a.client.ask(ctx, pathDevices+"/"+url.PathEscape(device), a.query, a.token)
	if IsErrcode(err, "M_NOT_FOUND") {
		return false, nil
	}
	return err == nil, err
}
