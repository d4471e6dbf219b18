package registry

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"poked/events"
	"poked/registry/request"
)

const (
	setV3 = prefixV3 + "/pushers/set"
	setR0 = prefixR0 + "/pushers/set"
	setV1 = prefixOriginal + "/pushers/set"
)

func TestSetRefuses(t *testing.T) {
	h := newHouse(t)
	data := func(url any) keys { return keys{"data": keys{"url": url}} }
	for _, c := range []struct {
		name, path string
		body       any // keys, or the body as text
		errcode    string
		says       []string // what the error names
	}{
		{"empty", setV3, "", "M_NOT_JSON", nil},
		{"half", setV3, `{"pushkey":`, "M_NOT_JSON", nil},
		{"more after it", setV3, encode(t, body()) + "{}", "M_NOT_JSON", nil},
		{"not UTF-8", setV3, "{\"pushkey\":\"\xff\"}", "M_NOT_JSON", nil},
		{"array", setV3, "[]", "M_BAD_JSON", []string{"object"}},
		{"null", setV3, "null", "M_BAD_JSON", []string{"object"}},
		{"key twice", setV3, `{"pushkey":"a","pushkey":"b"}`, "M_BAD_JSON", []string{"duplicate"}},

		{"all missing", setV3, "{}", "M_MISSING_PARAM",
			[]string{"pushkey", "kind", "app_id", "app_display_name", "device_display_name", "lang", "data"}},
		{"two missing", setV3, body(keys{"lang": nil, "data": keys{}}), "M_MISSING_PARAM", []string{"lang", "data.url"}},
		{"other case", setV3, body(keys{"lang": nil, "Lang": "en"}), "M_MISSING_PARAM", []string{"lang"}},
		{"kind missing", setV3, body(keys{"kind": nil}), "M_MISSING_PARAM", []string{"kind"}},
		{"delete without app_id", setV3, keys{"kind": null, "pushkey": "k"}, "M_MISSING_PARAM", []string{"app_id"}},
		{"no handle under api/v1", setV1, body(), "M_MISSING_PARAM", []string{"instance_handle"}},
		{"empty handle under api/v1", setV1, body(keys{"profile_tag": ""}), "M_MISSING_PARAM", []string{"instance_handle"}},

		{"pushkey number", setV3, body(keys{"pushkey": 1}), "M_BAD_JSON", []string{"pushkey", "string"}},
		{"pushkey null", setV3, body(keys{"pushkey": null}), "M_BAD_JSON", []string{"pushkey"}},
		{"kind number", setV3, body(keys{"kind": 1}), "M_BAD_JSON", []string{"kind"}},
		{"app_id array", setV3, body(keys{"app_id": []string{}}), "M_BAD_JSON", []string{"app_id"}},
		{"names and lang", setV3, body(keys{"app_display_name": 1, "device_display_name": true, "lang": keys{}}), "M_BAD_JSON",
			[]string{"app_display_name", "device_display_name", "lang"}},
		{"handle number", setV3, body(keys{"instance_handle": 1}), "M_BAD_JSON", []string{"instance_handle"}},
		{"tag number", setV3, body(keys{"profile_tag": 1}), "M_BAD_JSON", []string{"profile_tag"}},
		{"append string", setV3, body(keys{"append": "true"}), "M_BAD_JSON", []string{"append"}},
		{"enabled string", setV3, body(keys{"enabled": "true"}), "M_BAD_JSON", []string{"enabled"}},
		{"unstable enabled number", setV3, body(keys{"org.matrix.msc3881.enabled": 1}), "M_BAD_JSON", []string{"org.matrix.msc3881.enabled"}},
		{"data null", setV3, body(keys{"data": null}), "M_BAD_JSON", []string{"data"}},
		{"data string", setV3, body(keys{"data": "x"}), "M_BAD_JSON", []string{"data", "object"}},
		{"data key twice", setV3, body(keys{"data": json.RawMessage(`{"url":"x","url":"y"}`)}), "M_BAD_JSON", []string{"data", "duplicate"}},
		{"url number", setV3, body(data(1)), "M_BAD_JSON", []string{"data.url", "string"}},
		{"ttl zero", setV3, body(keys{"data": keys{"url": "https://gateway.example.org/_matrix/push/v1/notify", "poked.ttl": 0}}), "M_INVALID_PARAM", []string{"data.poked.ttl", "at least 1"}},
		{"cleared text", setV3, body(keys{"data": keys{"url": "https://gateway.example.org/_matrix/push/v1/notify", "poked.cleared": "yes"}}), "M_INVALID_PARAM", []string{"data.poked.cleared", "true or false"}},
		{"user id text", setV3, body(keys{"data": keys{"url": "https://gateway.example.org/_matrix/push/v1/notify", "poked.user_id": "@a:x"}}), "M_INVALID_PARAM", []string{"data.poked.user_id", "true or false"}},
		{"room avatar number", setV3, body(keys{"data": keys{"url": "https://gateway.example.org/_matrix/push/v1/notify", "poked.room_avatar": 1}}), "M_INVALID_PARAM", []string{"data.poked.room_avatar", "true or false"}},
		{"ttl text", setV3, body(keys{"data": keys{"url": "https://gateway.example.org/_matrix/push/v1/notify", "poked.ttl": "60"}}), "M_INVALID_PARAM", []string{"data.poked.ttl"}},
		{"url null", setV3, body(data(null)), "M_BAD_JSON", []string{"data.url"}},

		{"pushkey empty", setV3, body(keys{"pushkey": ""}), "M_INVALID_PARAM", []string{"pushkey", "512"}},
		{"pushkey long", setV3, body(keys{"pushkey": strings.Repeat("k", 513)}), "M_INVALID_PARAM", []string{"pushkey", "512"}},
		{"pushkey long in bytes", setV3, body(keys{"pushkey": strings.Repeat("ä", 257)}), "M_INVALID_PARAM", []string{"pushkey", "bytes"}},
		{"delete with long pushkey", setV3, body(keys{"kind": null, "pushkey": strings.Repeat("k", 513)}), "M_INVALID_PARAM", []string{"pushkey"}},
		{"app_id empty", setV3, body(keys{"app_id": ""}), "M_INVALID_PARAM", []string{"app_id", "64"}},
		{"app_id long", setV3, body(keys{"app_id": strings.Repeat("a", 65)}), "M_INVALID_PARAM", []string{"app_id", "64"}},
		{"app_id space", setV3, body(keys{"app_id": "org.example app"}), "M_INVALID_PARAM", []string{"app_id", "reverse-DNS"}},
		{"app_id dots", setV3, body(keys{"app_id": "org..example"}), "M_INVALID_PARAM", []string{"app_id", "reverse-DNS"}},
		{"kind email", setV3, body(keys{"kind": "email"}), "M_INVALID_PARAM", []string{"kind", `"http"`}},
		{"handle long", setV3, body(keys{"instance_handle": strings.Repeat("ä", 33)}), "M_INVALID_PARAM", []string{"instance_handle", "32"}},
		{"tag long", setV3, body(keys{"profile_tag": strings.Repeat("x", 33)}), "M_INVALID_PARAM", []string{"profile_tag", "32"}},
		{"handle and tag", setV3, body(keys{"instance_handle": "a", "profile_tag": "b"}), "M_INVALID_PARAM", []string{"instance_handle", "profile_tag", "equal"}},
		{"handle and empty tag", setV3, body(keys{"instance_handle": "a", "profile_tag": ""}), "M_INVALID_PARAM", []string{"equal"}},
		{"names long", setV3, body(keys{"app_display_name": strings.Repeat("n", 256), "device_display_name": strings.Repeat("n", 256), "lang": strings.Repeat("n", 256)}),
			"M_INVALID_PARAM", []string{"app_display_name", "device_display_name", "lang", "255"}},
		{"data big", setV3, body(keys{"data": keys{"url": "https://g.example.org/_matrix/push/v1/notify", "x": strings.Repeat("x", 4096)}}),
			"M_INVALID_PARAM", []string{"data", "4096"}},
		{"url http", setV3, body(data("http://gateway.example.org/_matrix/push/v1/notify")), "M_INVALID_PARAM", []string{"data.url", "https"}},
		{"url path", setV3, body(data("https://gateway.example.org/other")), "M_INVALID_PARAM", []string{"data.url", "/_matrix/push/v1/notify"}},
		{"url private", setV3, body(data("https://10.0.0.1/_matrix/push/v1/notify")), "M_INVALID_PARAM", []string{"data.url", "10.0.0.0/8"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			text, ok := c.body.(string)
			if !ok {
				text = encode(t, c.body)
			}
			status, e := h.try(c.path, "alice-phone", text)
			if status != http.StatusBadRequest || e.Errcode != c.errcode {
				t.Fatalf("%d %+v, want 400 %s", status, e, c.errcode)
			}
			for _, word := range c.says {
				if !strings.Contains(e.Error, word) {
					t.Errorf("%q does not name %s", e.Error, word)
				}
			}
		})
	}
	if keys := h.pushkeys("alice-phone"); len(keys) != 0 {
		t.Errorf("a refused set left %q", keys)
	}
}

func TestSetAdmits(t *testing.T) {
	h := newHouse(t)
	for _, c := range []struct {
		name, path string
		body       keys
	}{
		{"v3", setV3, body()},
		{"r0", setR0, body()},
		{"api/v1", setV1, body(keys{"instance_handle": "handle"})},
		{"api/v1, today's name", setV1, body(keys{"profile_tag": "handle"})},
		{"both names", setV3, body(keys{"profile_tag": "handle", "instance_handle": "handle"})},
		{"optional keys null", setV3, body(keys{"profile_tag": null, "instance_handle": null, "append": null})},
		{"handle of 32 characters", setV3, body(keys{"instance_handle": strings.Repeat("ä", 32)})},
		{"pushkey of 512 bytes", setV3, body(keys{"pushkey": strings.Repeat("ä", 256)})},
		{"app_id of 64 characters", setV3, body(keys{"app_id": strings.Repeat("a", 64)})},
		{"app_id of one label", setV3, body(keys{"app_id": "Some_app-2"})},
		{"empty names", setV3, body(keys{"app_display_name": "", "device_display_name": "", "lang": ""})},
		{"unknown keys", setV3, body(keys{"device_id": 7})},
		{"enabled null", setV3, body(keys{"enabled": null, "org.matrix.msc3881.enabled": null})},
		{"allowed private gateway", setV3, body(keys{"data": keys{"url": "http://127.0.0.1:5000/_matrix/push/v1/notify"}})},
		{"deletion with leftovers", setV3, body(keys{"kind": null, "lang": 7, "data": null, "append": "x"})},
		{"deletion under api/v1", setV1, keys{"kind": null, "app_id": "a", "pushkey": "k"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if status, e := h.try(c.path, "alice-phone", encode(t, c.body)); status != http.StatusOK {
				t.Errorf("%d %+v", status, e)
			}
		})
	}
}

// JSON that push gateways could not parse is accepted neither in pushers nor in rules.
func TestBodiesThatNoGatewayCanParse(t *testing.T) {
	h := newHouse(t)
	for _, text := range []string{`"\ud800"`, "1e400", strings.Repeat("[", 100) + strings.Repeat("]", 100)} {
		data := `{"url":"https://g.example/_matrix/push/v1/notify","x":` + text + `}`
		tweak := `[{"set_tweak":"sound","value":` + text + `}]`
		for _, raw := range []string{data, tweak} {
			if _, err := request.ParseFields([]byte(`{"x":` + raw + `}`)); err == nil {
				t.Errorf("accepted: %.80s", raw)
			}
		}
	}
	for _, text := range []string{`"\ud800"`, "1e400", strings.Repeat("[", 100) + strings.Repeat("]", 100)} {
		content := json.RawMessage(`{"global":{"override":[{"rule_id":"x","enabled":true,"conditions":[],"actions":[{"set_tweak":"sound","value":` + text + `}]}]}}`)
		if err := takePublished(t.Context(), h.reg.store, alice, content); !errors.Is(err, events.ErrBadEvent) {
			t.Errorf("accepted: %.40s: %v", text, err)
		}
	}
}
