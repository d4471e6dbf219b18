package registry

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"poked/events"
	"poked/events/eventstest"
)

// A user sees how each of their own pushers is. What is not known, or not told in time, is
// absent, and delays nobody.
func TestUsersSeeHowTheirPushersAre(t *testing.T) {
	eventstest.Long(t)
	h := newHouse(t)
	at := func(minute int) time.Time {
		return time.UnixMilli(1_800_000_000_000).Add(time.Duration(minute) * time.Minute)
	}
	id := func(key string) events.PusherID { return events.NewPusherID(alice, "org.example.app", key) }
	want := map[string]pusherCondition{
		"well":    {LastSuccess: at(1).UnixMilli()},
		"down":    {at(1).UnixMilli(), at(2).UnixMilli(), "gateway_down"},
		"refused": {0, at(3).UnixMilli(), "rejected"},
		"waits":   {LastSuccess: at(1).UnixMilli()},
		"new":     {},
	}
	h.owners.states = map[events.UserID][]events.PusherState{alice: {
		{Pusher: id("well"), State: events.PusherIdle, LastSuccess: at(1), LastError: "http_502", LastErrorAt: at(0)},
		{Pusher: id("down"), State: events.PusherLagging, LastSuccess: at(1), Since: at(2), Because: "gateway_down", LastError: "http_502"},
		{Pusher: id("refused"), State: events.PusherRefused, LastError: "rejected", LastErrorAt: at(3)},
		{Pusher: id("waits"), State: events.PusherLagging, LastSuccess: at(1), Since: at(2), Because: "active"},
	}}
	for key := range want {
		h.set("alice-phone", body(keys{"pushkey": key}))
	}
	h.set("bob-phone", body(keys{"pushkey": "bob"}))
	conditions := func(token string) map[string]pusherCondition {
		t.Helper()
		began := time.Now()
		status, _, answer := h.request(http.MethodGet, prefixV3+"/pushers", token, "")
		checkShape(t, openAPI(t), "Pushers", answer)
		var list struct{ Pushers []clientPusher }
		if err := json.Unmarshal(answer, &list); err != nil || status != http.StatusOK || time.Since(began) > 2*time.Second {
			t.Fatalf("%d %s after %s", status, answer, time.Since(began))
		}
		got := map[string]pusherCondition{}
		for _, p := range list.Pushers {
			got[p.Pushkey] = p.pusherCondition
		}
		return got
	}
	for key, got := range conditions("alice-phone") {
		if got != want[key] {
			t.Errorf("%s: %+v, want %+v", key, got, want[key])
		}
	}
	h.owners.slow = time.Hour
	away := map[string]func(){"slow": func() {}, "no dispatcher": h.owners.stop, "no NATS": h.nats.Stop}
	for _, what := range []string{"slow", "no dispatcher", "no NATS"} {
		away[what]()
		got := conditions("alice-phone")
		for key, condition := range got {
			if condition != (pusherCondition{}) {
				t.Errorf("%s, %s: %+v", what, key, condition)
			}
		}
		if len(got) != len(want) {
			t.Errorf("%s: %d pushers", what, len(got))
		}
	}
}
