package registry

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"poked/events/eventstest"
	"poked/events/publish"
)

// Ignoring somebody by way of poked is in effect when it is answered.
func TestAccountDataPassesThrough(t *testing.T) {
	eventstest.Long(t)
	h, hs := newHomeserverHouse(t)
	for _, prefix := range []string{prefixV3, prefixR0} {
		path := prefix + "/user/" + url.PathEscape(alice) + "/account_data/m.ignored_user_list"
		for _, tt := range [][2]string{
			{`{"ignored_users":{"` + bob + `":{}}}`, `["` + bob + `"]`},
			{`{"ignored_users":{}}`, `null`},
		} {
			content, want := tt[0], tt[1]
			status, _, answer := h.request(http.MethodPut, path, "alice-phone", content)
			if got := h.ignoredBy(alice); status != 200 || got != want {
				t.Errorf("%s: %d %s, alice ignores %s, want %s", content, status, answer, got, want)
			}
		}
		if status, _, _ := h.request(http.MethodPut, path, "bob-phone", `{"ignored_users":{"@x:y":{}}}`); status != 403 || h.ignoredBy(alice) != "null" {
			t.Errorf("by bob: %d, alice ignores %s", status, h.ignoredBy(alice))
		}
		if status, _, _ := h.request(http.MethodGet, path, "alice-phone", ""); status != 404 {
			t.Errorf("shown with %d", status)
		}
	}
	path := prefixV3 + "/user/" + url.PathEscape(alice) + "/account_data/"
	h.ruleThere(hs, "coffee")
	hs.Instead(func(r *http.Request) (eventstest.Reply, bool) {
		return eventstest.Reply{Status: 200, Body: "{}"}, r.Method == http.MethodPut
	})
	if status, _, _ := h.request(http.MethodPut, path+"m.push_rules", "alice-phone", `{}`); status != 200 || h.contentRules(alice) != `["coffee"]` {
		t.Errorf("push rules: %d, %s", status, h.contentRules(alice))
	}
	if status, _, _ := h.request(http.MethodPut, path+"m.tag", "alice-phone", `{}`); status != 200 {
		t.Errorf("another type: %d", status)
	}
	// A change that is not known here in the end is not said to be done.
	hs.Instead(func(r *http.Request) (eventstest.Reply, bool) {
		return eventstest.Reply{Status: 503, Body: "{}"}, r.Method == http.MethodGet && strings.Contains(r.URL.Path, "account_data")
	})
	if status, _, _ := h.request(http.MethodPut, path+"m.ignored_user_list", "alice-phone", `{"ignored_users":{"`+bob+`":{}}}`); status != 502 {
		t.Errorf("not fetched: %d", status)
	}
	if status, _, _ := h.request(http.MethodPut, path+"m.ignored_user_list", "guess", `{}`); status != 401 {
		t.Errorf("a guessed token: %d", status)
	}
}

// A user whose account changed behind poked is fetched when that is published, and again a
// little later.
func TestRefetch(t *testing.T) {
	eventstest.Long(t)
	h, hs := newRegisteredHouse(t)
	h.setAll()
	h.run()
	h.waitFor("the first round", func() bool { return len(hs.Hits("GET "+prefixV3+"/devices/PHONE?user_id=%40bob")) > 0 })
	h.ruleThere(hs, "mute")
	if err := publish.NewPublisher(h.conn).Refetch(t.Context(), alice); err != nil {
		t.Fatal(err)
	}
	h.waitFor("the rule", func() bool { return h.contentRules(alice) == `["mute"]` })
	h.ruleThere(hs, "late") // the homeserver was slow
	h.waitFor("the late rule", func() bool { return h.contentRules(alice) == `["mute","late"]` })
}

// Without a registration nobody can ask, and nothing fails.
func TestRefetchWithoutARegistration(t *testing.T) {
	h, _ := newHomeserverHouse(t)
	h.run()
	if err := publish.NewPublisher(h.conn).Refetch(t.Context(), alice); err != nil {
		t.Fatal(err)
	}
	h.accounts().ignored(`{"ignored_users":{"` + bob + `":{}}}`)
	h.waitFor("the next message", func() bool { return h.ignoredBy(alice) == `["`+bob+`"]` })
	if n := len(h.nats.Stored("DEAD", "")); n != 0 {
		t.Errorf("%d dead letters", n)
	}
}
