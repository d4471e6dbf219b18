package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"

	"poked/events"
	"poked/events/homeserver"
	"poked/registry/request"
	"poked/registry/store"
)

// setPusher answers POST pushers/set (client-server API, "POST
// /_matrix/client/v3/pushers/set").
func (a *api) setPusher(ctx context.Context, c *call) (any, error) {
	body, err := c.body()
	if err != nil {
		return nil, err
	}
	webPush := a.browsers != nil
	req, err := request.ParseSet(body, c.original, webPush, a.policy)
	if a.upstream == nil {
		if err != nil {
			return nil, err
		}
		return a.setHere(ctx, c, &req)
	}
	if req.IsOther(webPush) || err != nil && req.Remove {
		c.request.Body = io.NopCloser(bytes.NewReader(body))
		return a.setOther(ctx, c, &req, err)
	}
	if err != nil {
		return nil, err
	}
	var answer any
	err = a.upstream.setHere(ctx, c, &req, func(ctx context.Context) (err error) {
		answer, err = a.setHere(ctx, c, &req)
		return err
	})
	return answer, err
}

// setHere stores or deletes a pusher that poked delivers to. A browser that has to acknowledge it
// is answered with 201, and asked.
func (a *api) setHere(ctx context.Context, c *call, req *request.Set) (any, error) {
	user := c.identity.UserID
	if req.Remove {
		return struct{}{}, a.store.DeletePusher(ctx, user, req.Pusher.AppID, req.Pusher.Pushkey)
	}
	req.Pusher.DeviceID = c.identity.DeviceID
	replaced, ask, err := a.store.SetPusher(ctx, user, req.Pusher, req.Append)
	store.LogRemoved(a.log, replaced)
	if err != nil || ask == nil {
		return struct{}{}, err
	}
	a.browsers.Add(ask)
	return created{}, nil
}

// clientPusher is a pusher as its owner sees it: without internal fields, and with both
// names of each field that has two.
type clientPusher struct {
	Pushkey           string          `json:"pushkey"`
	Kind              string          `json:"kind"`
	AppID             string          `json:"app_id"`
	AppDisplayName    string          `json:"app_display_name"`
	DeviceDisplayName string          `json:"device_display_name"`
	InstanceHandle    string          `json:"instance_handle,omitempty"`
	ProfileTag        string          `json:"profile_tag,omitempty"`
	Lang              string          `json:"lang"`
	Data              json.RawMessage `json:"data"`
	Enabled           bool            `json:"enabled"`
	EnabledMSC3881    bool            `json:"org.matrix.msc3881.enabled"`
	Activated         *bool           `json:"activated,omitempty"` // of browsers (MSC4174)
	pusherCondition
}

// getPushers answers GET pushers (client-server API, "GET
// /_matrix/client/v3/pushers").
func (a *api) getPushers(ctx context.Context, c *call) (any, error) {
	set, err := a.store.Pushers(ctx, c.identity.UserID)
	if err != nil {
		return nil, err
	}
	var there []homeserver.Pusher
	if a.upstream != nil {
		if there, err = a.upstream.pushersThere(ctx, a.upstream.account(c)); err != nil {
			return nil, a.upstream.answered(c, err)
		}
	}
	return map[string]any{"pushers": mergePushers(set.UserID, set.Pushers, there, a.statesOf(ctx, &set), a.askFailures(ctx, &set))}, nil
}

func forClient(p events.Pusher) clientPusher {
	shown := clientPusher{
		Pushkey:           p.Pushkey,
		Kind:              p.Kind,
		AppID:             p.AppID,
		AppDisplayName:    p.AppDisplayName,
		DeviceDisplayName: p.DeviceDisplayName,
		InstanceHandle:    p.InstanceHandle,
		ProfileTag:        p.InstanceHandle,
		Lang:              p.Lang,
		Data:              p.Data,
		Enabled:           !p.Disabled,
		EnabledMSC3881:    !p.Disabled,
	}
	if activated := !p.Inactive; p.IsWebPush() {
		shown.Activated = &activated
	}
	return shown
}

// acknowledge answers POST pushers/ack (MSC4174).
func (a *api) acknowledge(ctx context.Context, c *call) (any, error) {
	f, err := c.fields()
	if err != nil {
		return nil, err
	}
	appID, token := f.Text("app_id"), f.Text("ack_token")
	if err := f.Err(); err != nil {
		return nil, err
	}
	return struct{}{}, a.store.Acknowledge(ctx, c.identity.UserID, appID, token)
}

// created is an answer with status 201.
type created struct{}

// mergePushers returns the pushers of a user here and at the homeserver as clients see
// them. One that is in both is shown as it is here.
func mergePushers(user events.UserID, here []events.Pusher, there []homeserver.Pusher, states map[events.PusherID]events.PusherState, failures map[events.PusherID]string) []any {
	list := make([]any, 0, len(here)+len(there))
	both := map[[2]string]bool{}
	for _, p := range here {
		both[[2]string{p.AppID, p.Pushkey}] = true
		shown := forClient(p)
		id := events.NewPusherID(user, p.AppID, p.Pushkey)
		if shown.pusherCondition = conditionOf(states[id]); p.Inactive {
			shown.Reason = failures[id]
		}
		list = append(list, shown)
	}
	for i := range there {
		if p := &there[i]; !both[[2]string{p.AppID, p.Pushkey}] {
			list = append(list, p.Raw)
		}
	}
	return list
}

// setOther answers pushers/set for what only the homeserver can have: a pusher of another
// kind, or the removal of one with a name that the registry refuses. ours is the error
// without such a homeserver.
func (a *api) setOther(ctx context.Context, c *call, req *request.Set, ours error) (any, error) {
	answer, err := a.upstream.setThere(ctx, c, func(ctx context.Context) error {
		return a.store.DeletePusher(ctx, c.identity.UserID, req.Pusher.AppID, req.Pusher.Pushkey)
	})
	if err != nil {
		return nil, err
	}
	if answer == nil {
		return nil, ours
	}
	if answer.Status == http.StatusNotFound && req.Remove {
		return struct{}{}, nil
	}
	return answer, nil
}
