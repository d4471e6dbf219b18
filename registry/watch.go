package registry

import (
	"context"
	"encoding/json"
	"net/http"

	"poked/events/homeserver"
	"poked/events/httpserve"
	"poked/registry/auth"
	"poked/registry/problem"
	"poked/registry/store"
)

// If a reverse proxy sends requests that end devices here, they are forwarded to the
// homeserver, and pushers are removed as soon as it has confirmed them. This is optional:
// the recheck (recheck.go) finds the devices of requests that take another way. Receipts and
// redactions are watched likewise (reports.go).

// watcher acts on a request of a client that the homeserver has executed, as its answer says.
// The client gets that answer even if the watcher fails.
type watcher func(ctx context.Context, c *call, answer *homeserver.Answer)

// remover removes pushers after the homeserver has confirmed a request. body is the
// client's.
type remover func(ctx context.Context, c *call, body []byte) ([]store.Removed, error)

// watchers is the table of watched requests: path below a prefix, and method.
func (a *api) watchers() map[string]map[string]watcher {
	return map[string]map[string]watcher{
		"/logout":             {http.MethodPost: a.removing(a.loggedOut)},
		"/logout/all":         {http.MethodPost: a.removing(a.loggedOutEverywhere)},
		"/devices/{deviceId}": {http.MethodDelete: a.removing(a.deviceDeleted)},
		"/delete_devices":     {http.MethodPost: a.removing(a.devicesDeleted)},
		"/account/password":   {http.MethodPost: a.removing(a.passwordChanged)},
		"/account/deactivate": {http.MethodPost: a.removing(a.deactivated)},

		"/rooms/{roomId}/receipt/{receiptType}/{eventId}": {http.MethodPost: a.reporting(receiptOf)},
		"/rooms/{roomId}/read_markers":                    {http.MethodPost: a.reporting(markersOf)},
		"/rooms/{roomId}/redact/{eventId}/{txnId}":        {http.MethodPut: a.reporting(redactionOf)},

		"/user/{userId}/rooms/{roomId}/account_data/{type}": {http.MethodPut: a.reporting(markOf)},
	}
}

// threadWatchers is the table of watched requests about threads (MSC4306).
func (a *api) threadWatchers() map[string]map[string]watcher {
	return map[string]map[string]watcher{
		"/rooms/{roomId}/thread/{threadId}/subscription": {
			http.MethodPut: a.reporting(subscriptionOf(true)), http.MethodDelete: a.reporting(subscriptionOf(false)),
		},
	}
}

// watch returns a route that forwards every request of a path and watches the given
// methods. It authenticates the client first, since the token may be invalid afterwards.
// If that fails the request is forwarded all the same, but the number of such requests in
// flight is limited.
func (a *api) watch(watched map[string]watcher) route {
	handle := func(ctx context.Context, c *call) (any, error) {
		if _, _, err := httpserve.Tokens(c.request); err != nil {
			return nil, problem.New(problem.InvalidParam, err.Error())
		}
		if identity, err := auth.Authenticate(ctx, a.auth, c.request); err == nil {
			c.identity = identity
		} else {
			leave, err := a.upstream.tokens.AdmitStranger(ctx)
			if err != nil {
				return nil, err
			}
			defer leave()
		}
		answer, err := a.upstream.forward(ctx, c)
		if err != nil {
			return nil, err
		}
		if follow, ok := watched[c.request.Method]; ok && answer.Status/100 == 2 {
			follow(context.WithoutCancel(ctx), c, answer)
		}
		return answer, nil
	}
	return route{http.MethodGet: handle, http.MethodPost: handle, http.MethodPut: handle, http.MethodDelete: handle}
}

// removing removes pushers. If it fails, the recheck removes them later.
func (a *api) removing(do remover) watcher {
	return func(ctx context.Context, c *call, _ *homeserver.Answer) {
		if c.identity.UserID == "" {
			return
		}
		body, err := c.body()
		if err == nil {
			var gone []store.Removed
			gone, err = do(ctx, c, body)
			store.LogRemoved(a.log, gone)
		}
		if err != nil {
			a.log.Error("pushers of a device that is gone could not be removed", "user_id", string(c.identity.UserID), "error", err)
		}
	}
}

func (a *api) loggedOut(ctx context.Context, c *call, _ []byte) ([]store.Removed, error) {
	if c.identity.DeviceID == "" {
		return nil, nil // the token belonged to no device
	}
	return a.deviceGone(ctx, c, c.identity.DeviceID)
}

func (a *api) deviceGone(ctx context.Context, c *call, device string) ([]store.Removed, error) {
	a.upstream.tokens.Forget(c.identity.UserID, device)
	return a.store.Logout(ctx, c.identity.UserID, device)
}

func (a *api) loggedOutEverywhere(ctx context.Context, c *call, _ []byte) ([]store.Removed, error) {
	return a.deviceGone(ctx, c, "")
}

func (a *api) deviceDeleted(ctx context.Context, c *call, _ []byte) ([]store.Removed, error) {
	return a.deviceGone(ctx, c, c.params["deviceId"])
}

func (a *api) devicesDeleted(ctx context.Context, c *call, body []byte) ([]store.Removed, error) {
	var request struct {
		Devices []string `json:"devices"`
	}
	if err := json.Unmarshal(body, &request); err != nil {
		return nil, nil //nolint:nilerr // the homeserver accepted it, so the recheck will find the devices
	}
	var all []store.Removed
	for _, device := range request.Devices {
		if device == "" {
			continue // "" would mean all devices
		}
		gone, err := a.deviceGone(ctx, c, device)
		if err != nil {
			return all, err
		}
		all = append(all, gone...)
	}
	return all, nil
}

// passwordChanged removes the pushers of the user's other devices, which the homeserver
// logged out unless the client asked it not to.
func (a *api) passwordChanged(ctx context.Context, c *call, body []byte) ([]store.Removed, error) {
	var request struct {
		LogoutDevices *bool `json:"logout_devices"`
	}
	_ = json.Unmarshal(body, &request) // after an error the default applies
	if request.LogoutDevices != nil && !*request.LogoutDevices {
		return nil, nil
	}
	a.upstream.tokens.Forget(c.identity.UserID, "")
	return a.store.LogoutOthers(ctx, c.identity.UserID, c.identity.DeviceID)
}

func (a *api) deactivated(ctx context.Context, c *call, _ []byte) ([]store.Removed, error) {
	a.upstream.tokens.Forget(c.identity.UserID, "")
	return a.store.Deactivate(ctx, c.identity.UserID)
}
