package registry

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"poked/events"
	"poked/events/eventstest"
)

// newHomeserverHouse opens a registry that authenticates clients through a homeserver.
func newHomeserverHouse(t *testing.T, change ...func(*Config)) (*house, *eventstest.Homeserver) {
	t.Helper()
	hs := eventstest.StartHomeserver(t)
	hs.AddToken("alice-phone", alice, "PHONE")
	hs.AddToken("alice-laptop", alice, "LAPTOP")
	hs.AddToken("bob-phone", bob, "PHONE")
	h := newHouse(t, append(change, func(c *Config) {
		c.Tokens, c.Homeserver.URL, c.TokenCache = "", hs.URL, time.Minute
	})...)
	return h, hs
}

const whoami = "GET /_matrix/client/v3/account/whoami"

// The homeserver receives one request for a token, however many clients send it at
// once.
func TestHomeserverAuthenticates(t *testing.T) {
	h, hs := newHomeserverHouse(t)
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() { h.pushkeys("alice-phone") })
	}
	group.Wait()
	h.set("alice-phone", body())
	if n := len(hs.Hits(whoami)); n != 1 {
		t.Errorf("%d requests for one token", n)
	}
	if set := h.database()[alice]; len(set.Pushers) != 1 || set.Pushers[0].DeviceID != "PHONE" {
		t.Errorf("stored %+v", set)
	}
}

// An unknown token is answered with 401 and the homeserver's soft_logout. The answer is
// cached.
func TestUnknownTokenOfTheHomeserver(t *testing.T) {
	h, hs := newHomeserverHouse(t)
	for token, soft := range map[string]bool{"guess": false, "expired-oauth-token": true} {
		for range 3 {
			if status, e := h.try(prefixV3+"/pushers/set", token, "{}"); status != 401 || e.Errcode != "M_UNKNOWN_TOKEN" || e.SoftLogout != soft {
				t.Errorf("%s: %d %+v", token, status, e)
			}
		}
	}
	if n := len(hs.Hits(whoami)); n != 2 {
		t.Errorf("%d requests for two tokens", n)
	}
	if strings.Contains(h.log.String(), "expired-oauth-token") {
		t.Error("the log holds a token")
	}
}

// A failure to reach the homeserver, or an answer that is not its own, logs nobody out
// and is not cached.
func TestHomeserverCannotBeAsked(t *testing.T) {
	h, hs := newHomeserverHouse(t)
	for name, reply := range map[string]eventstest.Reply{
		"it fails":                {Status: 500, Body: `{"errcode":"M_UNKNOWN"}`},
		"it is throttled":         {Status: 429, Body: `{"errcode":"M_LIMIT_EXCEEDED"}`},
		"a proxy without it":      {Status: 502, Body: `<html>`},
		"a proxy with a password": {Status: 401, Body: `who are you?`},
		"no homeserver at all":    {Status: 404, Body: `{"errcode":"M_UNRECOGNIZED"}`},
		"elsewhere":               {Status: 302, Body: ``},
		"no user":                 {Status: 200, Body: `{"device_id":"PHONE"}`},
		"no JSON":                 {Status: 200, Body: `hello`},
	} {
		hs.Instead(func(*http.Request) (eventstest.Reply, bool) { return reply, true })
		if status, e := h.try(prefixV3+"/pushers/set", "alice-phone", encode(t, body())); status != 502 || e.Errcode != "M_UNKNOWN" {
			t.Errorf("%s: %d %+v", name, status, e)
		}
	}
	hs.Instead(func(*http.Request) (eventstest.Reply, bool) {
		return eventstest.Reply{Status: 401, Body: `{"errcode":"M_USER_LOCKED","soft_logout":true}`}, true
	})
	if status, e := h.try(prefixV3+"/pushers/set", "alice-phone", "{}"); status != 401 || e.Errcode != "M_USER_LOCKED" || !e.SoftLogout {
		t.Errorf("locked: %d %+v", status, e)
	}
	hs.Instead(func(*http.Request) (eventstest.Reply, bool) { return eventstest.Reply{}, false })
	h.set("alice-phone", body())
}

// The homeserver keeps the push rules: changes are forwarded to it, and stored here
// before they are answered.
func TestRulesOfTheHomeserver(t *testing.T) {
	eventstest.Long(t)
	h, hs := newHomeserverHouse(t)
	for _, prefix := range []string{prefixV3, prefixR0, prefixOriginal} {
		path := prefix + "/pushrules/global/content/coffee%2F1"
		rule := `{"pattern":"coffee","actions":["notify"]}`
		if status, e := h.change(http.MethodPut, path, "alice-phone", rule); status != 200 {
			t.Fatalf("%s: %d %+v", prefix, status, e)
		}
		if got := h.contentRules(alice); got != `["coffee/1"]` {
			t.Errorf("%s: stored %s", prefix, got)
		}
		if _, _, answer := h.request(http.MethodGet, prefix+"/pushrules/", "alice-phone", ""); !strings.Contains(string(answer), "coffee/1") {
			t.Errorf("%s: shown %s", prefix, answer)
		}
		if status, e := h.change(http.MethodDelete, path, "alice-phone", ""); status != 200 {
			t.Fatalf("%s: %d %+v", prefix, status, e)
		}
		if got := h.contentRules(alice); got != `[]` {
			t.Errorf("%s: stored %s after it was deleted", prefix, got)
		}
		if status, e := h.change(http.MethodDelete, path, "alice-phone", ""); status != 404 || e.Errcode != "M_NOT_FOUND" {
			t.Errorf("%s: deleted twice: %d %+v", prefix, status, e)
		}
	}
	// All requests to the homeserver have the current prefix.
	if old := append(hs.Hits("PUT /_matrix/client/r0"), hs.Hits("PUT /_matrix/client/api")...); len(old) != 0 {
		t.Errorf("requests %v", old)
	}
	// The rules of a device are stored here, since the homeserver has none.
	device := prefixOriginal + "/pushrules/device/handle/content/tea"
	if status, e := h.change(http.MethodPut, device, "alice-phone", `{"pattern":"tea","actions":["notify"]}`); status != 200 {
		t.Errorf("rule of a device: %d %+v", status, e)
	}
}

// contentRules returns the ids of the content rules that are stored here.
func (h *house) contentRules(user events.UserID) string {
	h.t.Helper()
	rules, err := h.reg.store.PushRules(h.t.Context(), user)
	if err != nil {
		h.t.Fatal(err)
	}
	ids := []string{}
	for _, rule := range rules.Global().Content {
		ids = append(ids, rule.ID)
	}
	return encode(h.t, ids)
}

// When a user sets a pusher, the user's rules and ignored users are fetched.
func TestRulesAreFetchedWithThePusher(t *testing.T) {
	h, hs := newHomeserverHouse(t)
	here := h.web.URL
	h.web.URL = hs.URL
	path, rule := prefixV3+"/pushrules/global/content/coffee", `{"pattern":"coffee","actions":["notify"]}`
	if status, e := h.change(http.MethodPut, path, "alice-phone", rule); status != 200 {
		t.Fatalf("at the homeserver: %d %+v", status, e)
	}
	h.web.URL = here
	hs.Ignore(alice, bob)
	h.set("alice-phone", body())
	if got := h.contentRules(alice); got != `["coffee"]` {
		t.Errorf("stored %s", got)
	}
	if got := h.ignoredBy(alice); got != `["`+bob+`"]` {
		t.Errorf("alice ignores %s", got)
	}
}

func (h *house) ignoredBy(user events.UserID) string {
	h.t.Helper()
	rules, err := h.reg.store.PushRules(h.t.Context(), user)
	if err != nil {
		h.t.Fatal(err)
	}
	return encode(h.t, rules.IgnoredUsers)
}

// A change that cannot be stored here is answered with an error.
func TestRulesCannotBeFetched(t *testing.T) {
	h, hs := newHomeserverHouse(t)
	h.set("alice-phone", body())
	hs.Instead(func(r *http.Request) (eventstest.Reply, bool) {
		return eventstest.Reply{Status: 503, Body: "{}"}, r.Method == http.MethodGet
	})
	path, rule := prefixV3+"/pushrules/global/content/coffee", `{"pattern":"coffee","actions":["notify"]}`
	if status, e := h.change(http.MethodPut, path, "alice-phone", rule); status != 502 {
		t.Errorf("%d %+v", status, e)
	}
	if status, e := h.try(prefixV3+"/pushers/set", "alice-phone", encode(t, body(keys{"pushkey": "second"}))); status != 502 {
		t.Errorf("set: %d %+v", status, e)
	}
	hs.Instead(func(*http.Request) (eventstest.Reply, bool) { return eventstest.Reply{}, false })
	if status, e := h.change(http.MethodPut, path, "alice-phone", rule); status != 200 || h.contentRules(alice) != `["coffee"]` {
		t.Errorf("again: %d %+v, stored %s", status, e, h.contentRules(alice))
	}
}

// If the homeserver does not support push rules, the registry keeps them.
func TestHomeserverWithoutRules(t *testing.T) {
	h, hs := newHomeserverHouse(t)
	hs.Instead(func(r *http.Request) (eventstest.Reply, bool) {
		return eventstest.Reply{Status: 404, Body: `{"errcode":"M_UNRECOGNIZED"}`}, strings.Contains(r.URL.Path, "/pushrules/")
	})
	h.set("alice-phone", body())
	if status, e := h.change(http.MethodPut, prefixV3+"/pushrules/global/content/coffee", "alice-phone", `{"pattern":"coffee","actions":["notify"]}`); status != 200 {
		t.Errorf("%d %+v", status, e)
	}
	if _, _, answer := h.request(http.MethodGet, prefixV3+"/pushrules/global/content/coffee", "alice-phone", ""); !json.Valid(answer) || !strings.Contains(string(answer), `"pattern":"coffee"`) {
		t.Errorf("shown %s", answer)
	}
}
