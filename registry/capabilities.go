package registry

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"poked/events"
	"poked/events/homeserver"
)

// featureWebPush is the unstable feature of [versions] that MSC4174 is.
const featureWebPush = "org.matrix.msc4174"

// capabilityWebPush is the name of the capability of MSC4174; its unstable name is that of the
// kind of pushers.
const capabilityWebPush = "m.webpush"

// webPushCapability tells clients that browsers may be set as pushers, and the key with which they
// have to subscribe.
type webPushCapability struct {
	Enabled bool   `json:"enabled"`
	VAPID   string `json:"vapid"`
}

// getCapabilities returns the homeserver's capabilities with that of Web Push, or that alone
// without a homeserver (client-server API, "GET /_matrix/client/v3/capabilities").
func (a *api) getCapabilities(ctx context.Context, c *call) (any, error) {
	own := map[string]any{}
	if a.browsers != nil {
		web := webPushCapability{Enabled: true, VAPID: a.browsers.Key().Public()}
		own[capabilityWebPush], own[events.KindWebPushUnstable] = web, web
	}
	if a.upstream == nil {
		return map[string]any{"capabilities": own}, nil
	}
	return a.merged(ctx, c, "capabilities", own)
}

// merged returns the homeserver's answer to a request. If it is 200 with a JSON object, own
// members are added to the object at one of its keys. It needs no token that is known here: the
// homeserver authenticates the request.
func (a *api) merged(ctx context.Context, c *call, key string, own map[string]any) (any, error) {
	leave, err := a.upstream.tokens.AdmitStranger(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	answer, err := a.upstream.forward(ctx, c)
	if err != nil || answer.Status != http.StatusOK || len(own) == 0 {
		return answer, err
	}
	if body, err := mergeInto(answer.Body, key, own); err == nil {
		return &homeserver.Answer{Status: answer.Status, Header: answer.Header, Body: body}, nil
	}
	a.log.Warn("the homeserver's answer is no object, it is passed on without web push", "path", c.path)
	return answer, nil
}

// errNoObject reports that an answer of the homeserver is not what the specification says.
var errNoObject = errors.New("it is no JSON object")

// mergeInto adds members to the object at a key of a JSON object, which is made if it is absent.
func mergeInto(body []byte, key string, own map[string]any) ([]byte, error) {
	var whole, inner map[string]json.RawMessage
	if err := json.Unmarshal(body, &whole); err != nil || whole == nil {
		return nil, errNoObject
	}
	if raw, ok := whole[key]; ok {
		if err := json.Unmarshal(raw, &inner); err != nil {
			return nil, errNoObject
		}
	}
	if inner == nil {
		inner = map[string]json.RawMessage{}
	}
	for name, value := range own {
		raw, err := json.Marshal(value)
		if err != nil {
			return nil, err
		}
		inner[name] = raw
	}
	raw, err := json.Marshal(inner)
	if err != nil {
		return nil, err
	}
	whole[key] = raw
	return json.Marshal(whole)
}
