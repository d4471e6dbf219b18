package registry

import (
	"encoding/json"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"poked/events/eventstest"
)

// The capability is in the homeserver's answers, whatever else is there, and absent where it has
// none.
func TestCapabilityIsMerged(t *testing.T) {
	eventstest.Long(t)
	h, hs := newHomeserverHouse(t, withWebPush)
	const capabilities, versions = "/_matrix/client/v3/capabilities", pathVersions
	reply := func(path string, status int, body string) {
		hs.Instead(func(r *http.Request) (eventstest.Reply, bool) {
			return eventstest.Reply{Status: status, Body: body}, r.URL.Path == path
		})
	}
	get := func(path string) (int, map[string]any) {
		status, _, answer := h.request(http.MethodGet, path, "alice-phone", "")
		var got map[string]any
		if err := json.Unmarshal(answer, &got); err != nil {
			t.Fatalf("%s: %s: %v", path, answer, err)
		}
		return status, got
	}
	reply(capabilities, 200, `{"capabilities":{"m.change_password":{"enabled":false},"x":12345678901234567890},"y":[1]}`)
	_, got := get(prefixV3 + "/capabilities")
	inner := got["capabilities"].(map[string]any)
	want := map[string]any{"enabled": true, "vapid": h.reg.browsers.Key().Public()}
	for _, name := range []string{"m.webpush", "org.matrix.msc4174.webpush"} {
		if !maps.Equal(inner[name].(map[string]any), want) {
			t.Errorf("%s is %v", name, inner[name])
		}
	}
	if inner["m.change_password"].(map[string]any)["enabled"] != false || got["y"] == nil {
		t.Errorf("the homeserver's are lost: %v", got)
	}
	if _, _, raw := h.request(http.MethodGet, prefixR0+"/capabilities", "alice-phone", ""); !strings.Contains(string(raw), "12345678901234567890") {
		t.Errorf("numbers are changed: %s", raw)
	}
	reply(capabilities, 401, `{"errcode":"M_MISSING_TOKEN"}`)
	if status, got := get(prefixV3 + "/capabilities"); status != 401 || got["capabilities"] != nil {
		t.Errorf("a refusal became %d %v", status, got)
	}
	reply(versions, 200, `{"versions":["v1.5"],"unstable_features":{"a":true}}`)
	_, got = get(pathVersions)
	if features := got["unstable_features"].(map[string]any); features["org.matrix.msc4174"] != true || features["a"] != true {
		t.Errorf("versions %v", got)
	}
	reply(versions, 200, `{"versions":["v1.5"]}`)
	if _, got = get(pathVersions); got["unstable_features"].(map[string]any)["org.matrix.msc4174"] != true {
		t.Errorf("versions %v", got)
	}
	reply(versions, 200, `[]`)
	if status, _, answer := h.request(http.MethodGet, pathVersions, "", ""); status != 200 || string(answer) != "[]" {
		t.Errorf("an answer that is no object became %d %s", status, answer)
	}
}

// Without a homeserver poked answers by itself.
func TestCapabilityAlone(t *testing.T) {
	eventstest.Long(t)
	h := newHouse(t, withWebPush)
	_, _, answer := h.request(http.MethodGet, prefixV3+"/capabilities", "alice-phone", "")
	if !strings.Contains(string(answer), `"m.webpush":{"enabled":true,"vapid":"`+h.reg.browsers.Key().Public()+`"}`) {
		t.Errorf("capabilities %s", answer)
	}
	if status, _, _ := h.request(http.MethodGet, prefixV3+"/capabilities", "", ""); status != 401 {
		t.Errorf("without a token: %d", status)
	}
	if _, _, answer := h.request(http.MethodGet, pathVersions, "", ""); !strings.Contains(string(answer), `"org.matrix.msc4174":true`) {
		t.Errorf("versions %s", answer)
	}
}

// With a homeserver browsers are poked's, and other kinds stay the homeserver's.
func TestBrowserBesideAHomeserver(t *testing.T) {
	eventstest.Long(t)
	h, hs := newHomeserverHouse(t, withWebPush)
	h.run()
	s, b := newPushService(t), newBrowser(t)
	if status, code := h.ack(h.ask(s, b, "/x")); status != 200 {
		t.Errorf("acknowledged: %d %s", status, code)
	}
	if list := hs.Pushkeys(alice); len(list) != 0 {
		t.Errorf("the homeserver has %v", list)
	}
	off, other := newOtherHouse(t), eventstest.StartHomeserver(t)
	off.close()
	other.AddToken("alice-phone", alice, "PHONE")
	off.cfg.Tokens, off.cfg.Homeserver.URL, off.cfg.TokenCache = "", other.URL, time.Minute
	off.open()
	if status, _, _ := off.request(http.MethodPost, setV3, "alice-phone", encode(t, browserBody(b, s.URL+"/x"))); status != 200 || len(other.Pushkeys(alice)) != 1 {
		t.Errorf("with web push off: %d, the homeserver has %v", status, other.Pushkeys(alice))
	}
}
