package registry

import (
	"context"
	"encoding/json"

	"poked/events"
)

// setPusher answers POST pushers/set (client-server API, "POST
// /_matrix/client/v3/pushers/set").
func (a *api) setPusher(ctx context.Context, c *call) (any, error) {
	body, err := c.body()
	if err != nil {
		return nil, err
	}
	req, err := parseSet(body, c.original, a.policy)
	if err != nil {
		return nil, err
	}
	user := c.identity.UserID
	if req.remove {
		return struct{}{}, a.store.DeletePusher(ctx, user, req.pusher.AppID, req.pusher.Pushkey)
	}
	if a.upstream != nil { // so that the first poke already follows the user's rules
		if err := a.upstream.fetchRules(ctx, c); err != nil {
			return nil, err
		}
		if err := a.upstream.fetchIgnored(ctx, c); err != nil {
			return nil, err
		}
	}
	req.pusher.DeviceID = c.identity.DeviceID
	replaced, err := a.store.SetPusher(ctx, user, req.pusher, req.append)
	if err != nil {
		return nil, err
	}
	logRemoved(a.log, replaced)
	return struct{}{}, nil
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
}

// getPushers answers GET pushers (client-server API, "GET
// /_matrix/client/v3/pushers").
func (a *api) getPushers(ctx context.Context, c *call) (any, error) {
	set, err := a.store.Pushers(ctx, c.identity.UserID)
	if err != nil {
		return nil, err
	}
	list := make([]clientPusher, 0, len(set.Pushers))
	for _, p := range set.Pushers {
		list = append(list, forClient(p))
	}
	return map[string]any{"pushers": list}, nil
}

func forClient(p events.Pusher) clientPusher {
	return clientPusher{
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
}
