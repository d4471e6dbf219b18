package live

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // the API of registration with a shared secret uses it
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tidwall/gjson"
)

// object is a JSON object.
type object = map[string]any

// requestTimeout bounds each request of a user.
const requestTimeout = 30 * time.Second

// user is a user with an access token, whose client knows only the reverse proxy.
type user struct {
	name, id string
	password string
	base     string // URL of the proxy, or of the homeserver
	token    string
	device   string
}

func userID(name string) string { return "@" + name + ":" + serverName }

// refusedError is an answer that is not 2xx.
type refusedError struct {
	what   string
	status int
	body   string
}

func (e *refusedError) Error() string { return fmt.Sprintf("%s: %d %s", e.what, e.status, e.body) }

// statusOf returns the status of an answer.
func statusOf(err error) int {
	var refused *refusedError
	switch {
	case err == nil:
		return http.StatusOK
	case errors.As(err, &refused):
		return refused.status
	}
	return 0
}

// ask sends a request below /_matrix/client/ and returns the answer. It returns a
// *refusedError unless the status is 2xx.
func (u *user) ask(ctx context.Context, method, path string, body any) (gjson.Result, error) {
	return send(ctx, method, u.base+"/_matrix/client/"+path, u.token, body)
}

func send(ctx context.Context, method, target, token string, body any) (gjson.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	raw, err := json.Marshal(body)
	if err != nil {
		return gjson.Result{}, fmt.Errorf("encode request: %w", err)
	}
	var content io.Reader
	if body != nil {
		content = bytes.NewReader(raw)
	}
	request, err := http.NewRequestWithContext(ctx, method, target, content)
	if err != nil {
		return gjson.Result{}, fmt.Errorf("make request: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := (&http.Client{}).Do(request)
	if err != nil {
		return gjson.Result{}, fmt.Errorf("send request: %w", err)
	}
	defer func() { _ = response.Body.Close() }() // it was only read
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return gjson.Result{}, fmt.Errorf("read answer: %w", err)
	}
	if response.StatusCode/100 != 2 {
		return gjson.ParseBytes(answer), &refusedError{method + " " + target, response.StatusCode, strings.TrimSpace(string(answer))}
	}
	return gjson.ParseBytes(answer), nil
}

// password is every user's.
const password = "correct horse"

// register registers a user at the homeserver, with its shared secret.
func register(ctx context.Context, homeserver, name string) error {
	const path = "/_synapse/admin/v1/register"
	nonce, err := send(ctx, http.MethodGet, homeserver+path, "", nil)
	if err != nil {
		return err
	}
	mac := hmac.New(sha1.New, []byte(sharedSecret))
	_, _ = fmt.Fprintf(mac, "%s\x00%s\x00%s\x00notadmin", nonce.Get("nonce").Str, name, password)
	_, err = send(ctx, http.MethodPost, homeserver+path, "", object{
		"nonce": nonce.Get("nonce").Str, "username": name, "password": password, "admin": false, "mac": hex.EncodeToString(mac.Sum(nil)),
	})
	return err
}

// login logs a user in with a device.
func login(ctx context.Context, base, name, device string) (*user, error) {
	u := &user{name: name, id: userID(name), password: password, base: base, device: device}
	answer, err := u.ask(ctx, http.MethodPost, "v3/login", object{
		"type": "m.login.password", "identifier": object{"type": "m.id.user", "user": name}, "password": password, "device_id": device,
	})
	u.token = answer.Get("access_token").Str
	return u, err
}

// setPusher sets an HTTP pusher of the user, with more or other fields.
func (u *user) setPusher(ctx context.Context, app, pushkey, gateway string, more object) error {
	body := object{
		"kind": "http", "app_id": app, "pushkey": pushkey, "app_display_name": "App", "device_display_name": u.device,
		"lang": "en", "append": true, "data": object{"url": gateway},
	}
	for key, value := range more {
		body[key] = value
	}
	_, err := u.ask(ctx, http.MethodPost, "v3/pushers/set", body)
	return err
}

var transactions atomic.Int64 //nolint:gochecknoglobals // transaction ids are unique in a run

func txn() string { return fmt.Sprint("m", transactions.Add(1)) }

// escape escapes an id in a path.
func escape(id string) string { return url.PathEscape(id) }

// say sends an event and returns its id.
func (u *user) say(ctx context.Context, room, kind string, content object) (string, error) {
	answer, err := u.ask(ctx, http.MethodPut, "v3/rooms/"+escape(room)+"/send/"+escape(kind)+"/"+txn(), content)
	return answer.Get("event_id").Str, err
}

// set sends a state event and returns its id.
func (u *user) set(ctx context.Context, room, kind, key string, content object) (string, error) {
	answer, err := u.ask(ctx, http.MethodPut, "v3/rooms/"+escape(room)+"/state/"+escape(kind)+"/"+escape(key), content)
	return answer.Get("event_id").Str, err
}

// stateOf returns the id of the event that set a state of a room.
func (u *user) stateOf(ctx context.Context, room, kind, key string) (string, error) {
	answer, err := u.ask(ctx, http.MethodGet, "v3/rooms/"+escape(room)+"/state", nil)
	if err != nil {
		return "", err
	}
	for _, ev := range answer.Array() {
		if ev.Get("type").Str == kind && ev.Get("state_key").Str == key {
			return ev.Get("event_id").Str, nil
		}
	}
	return "", fmt.Errorf("room %s has no state %s %q", room, kind, key)
}

// read sends a read receipt: of a kind, and of a thread if that is not "".
func (u *user) read(ctx context.Context, room, kind, event, thread string) error {
	body := object{}
	if thread != "" {
		body["thread_id"] = thread
	}
	_, err := u.ask(ctx, http.MethodPost, "v3/rooms/"+escape(room)+"/receipt/"+kind+"/"+escape(event), body)
	return err
}
