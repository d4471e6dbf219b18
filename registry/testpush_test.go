package registry

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"poked/events"
	"poked/events/eventstest"
)

const testV3 = prefixV3 + "/pushers/push"

// testBody is the body of a test push of the pusher that body describes.
func testBody(t *testing.T, changes keys) string {
	t.Helper()
	all := keys{"app_id": "org.example.app", "pushkey": "key", "event_id": "$test"}
	for key, value := range changes {
		all[key] = value
		if value == nil {
			delete(all, key)
		}
	}
	return encode(t, all)
}

// tried sends a test push and returns the answer, which must match its schema.
func (h *house) tried(path, token, body string) (int, clientTest) {
	h.t.Helper()
	status, _, answer := h.request(http.MethodPost, path, token, body)
	var result clientTest
	if status == http.StatusOK {
		checkShape(h.t, openAPI(h.t), "TestResult", answer)
	} else {
		checkShape(h.t, openAPI(h.t), "Error", answer)
	}
	if err := json.Unmarshal(answer, &result); err != nil {
		h.t.Fatalf("%s: %v", answer, err)
	}
	return status, result
}

// The owner of the partition is asked about the user's own pushers only, and its answer is the
// client's.
func TestTestPush(t *testing.T) {
	eventstest.Long(t)
	h := newHouse(t)
	h.run()
	h.set("alice-phone", body())
	h.set("alice-phone", body(keys{"pushkey": "off", "enabled": false}))
	at := time.UnixMilli(1_800_000_000_000)
	h.owners.results = map[events.PusherID]events.TestResult{
		events.NewPusherID(alice, "org.example.app", "key"): {Status: "rate_limited", Class: "paused", HTTPStatus: 429, Gateway: "https://g:443", TookMS: 5, RetryAt: at},
	}
	for _, path := range []string{testV3, prefixR0 + "/pushers/push", prefixOriginal + "/pushers/push", pathTestPush} {
		h.reg.api.tests.users.Purge()
		for _, c := range []struct {
			token, body string
			status      int
			want        clientTest
		}{
			{"alice-phone", testBody(t, nil), 200, clientTest{"rate_limited", "paused", 429, at.UnixMilli()}},
			{"alice-phone", testBody(t, keys{"pushkey": "off"}), 200, clientTest{Status: "not_registered", Class: "disabled"}},
			{"alice-phone", testBody(t, keys{"pushkey": "none"}), 200, clientTest{Status: "not_registered"}},
			{"bob-phone", testBody(t, nil), 200, clientTest{Status: "not_registered"}},
			{"", testBody(t, nil), 401, clientTest{}},
			{"alice-phone", testBody(t, keys{"event_id": nil}), 400, clientTest{}},
			{"alice-phone", testBody(t, keys{"event_id": "$"}), 400, clientTest{}},
			{"alice-phone", testBody(t, keys{"event_id": "$" + strings.Repeat("a", 129)}), 400, clientTest{}},
			{"alice-phone", testBody(t, keys{"event_id": "$a:b"}), 400, clientTest{}},
			{"alice-phone", testBody(t, keys{"app_id": 1}), 400, clientTest{}},
			{"alice-phone", `[]`, 400, clientTest{}},
		} {
			if status, result := h.tried(path, c.token, c.body); status != c.status || result != c.want {
				t.Errorf("%s %s: %d %+v, want %d %+v", path, c.body, status, result, c.status, c.want)
			}
		}
	}
	h.owners.mu.Lock()
	defer h.owners.mu.Unlock()
	for _, asked := range h.owners.tests {
		if asked.UserID != alice || asked.EventID != "$test" || asked.Pusher != events.NewPusherID(alice, "org.example.app", "key") {
			t.Errorf("asked for %+v", asked)
		}
	}
	if len(h.owners.tests) != 4 {
		t.Errorf("%d test pushes, want 4", len(h.owners.tests))
	}
}

// A dispatcher that has yet to hear of a pusher is asked again; if none answers, or NATS is
// away, the client is told to come back.
func TestTestPushWhileTheDispatcherIsAway(t *testing.T) {
	eventstest.Long(t)
	h := newHouse(t)
	h.run()
	h.set("alice-phone", body())
	id := events.NewPusherID(alice, "org.example.app", "key")
	h.owners.later = map[events.PusherID]int{id: 2}
	h.owners.results = map[events.PusherID]events.TestResult{id: {Status: "ok", HTTPStatus: 200}}
	if status, result := h.tried(testV3, "alice-phone", testBody(t, nil)); status != 200 || result.Status != "ok" {
		t.Errorf("a dispatcher that hears of the pusher later: %d %+v", status, result)
	}
	for _, away := range []func(){h.owners.stop, h.nats.Stop} {
		away()
		if status, _ := h.tried(testV3, "alice-phone", testBody(t, nil)); status != http.StatusServiceUnavailable {
			t.Errorf("answered %d", status)
		}
	}
}

// A user has a few test pushes at once, and then one every ten seconds, whatever other requests
// are allowed. Bad requests cost none.
func TestTestPushIsLimited(t *testing.T) {
	eventstest.Long(t)
	h := newHouse(t)
	for range testBurst + 3 {
		if status, _ := h.tried(testV3, "alice-phone", testBody(t, keys{"event_id": "bad"})); status != http.StatusBadRequest {
			t.Errorf("bad: %d", status)
		}
	}
	for i := range testBurst + 2 {
		want := http.StatusOK
		if i >= testBurst {
			want = http.StatusTooManyRequests
		}
		if status, _ := h.tried(testV3, "alice-phone", testBody(t, nil)); status != want {
			t.Errorf("%d: %d, want %d", i, status, want)
		}
	}
	if status, _ := h.tried(testV3, "bob-phone", testBody(t, nil)); status != http.StatusOK {
		t.Errorf("another user: %d", status)
	}
}
