package registry

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"poked/events"
	"poked/events/eventstest"
	"poked/events/homeserver"
	"poked/registry/store"
)

// setAll sets a pusher on alice's phone, one on her laptop, and one of bob's.
func (h *house) setAll() {
	h.t.Helper()
	for _, token := range []string{"alice-phone", "alice-laptop", "bob-phone"} {
		h.set(token, body(keys{"pushkey": token, "append": true}))
	}
}

// left returns the remaining pushkeys.
func (h *house) left() string {
	h.t.Helper()
	var all []string
	for _, set := range h.database() {
		for _, p := range set.Pushers {
			all = append(all, p.Pushkey)
		}
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// reasons returns the reasons of the removals, oldest first.
func (h *house) reasons() string {
	h.t.Helper()
	var list []string
	if err := h.reg.db.Select(h.t.Context(), &list, "SELECT reason FROM removed_pushers ORDER BY id"); err != nil {
		h.t.Fatal(err)
	}
	return strings.Join(list, ", ")
}

// A request through poked that ends a device removes its pushers before it is answered.
func TestPushersAreRemovedWithTheirDevice(t *testing.T) {
	const auth = `"auth":{"type":"m.login.password"}`
	for _, tt := range []struct {
		name, method, path, body string
		left, reason             string
	}{
		{"logout", "POST", "/logout", "{}", "alice-laptop bob-phone", "logout"},
		{"logout without a body", "POST", "/logout", "", "alice-laptop bob-phone", "logout"},
		{"logout everywhere", "POST", "/logout/all", "{}", "bob-phone", "logout, logout"},
		{"delete a device", "DELETE", "/devices/LAPTOP", "{" + auth + "}", "alice-phone bob-phone", "logout"},
		{"delete devices", "POST", "/delete_devices", `{"devices":["LAPTOP","PHONE",""],` + auth + `}`, "bob-phone", "logout, logout"},
		{"new password", "POST", "/account/password", `{"new_password":"x"}`, "alice-phone bob-phone", "password changed"},
		{"new password, devices stay", "POST", "/account/password", `{"logout_devices":false}`, "alice-laptop alice-phone bob-phone", ""},
		{"deactivate", "POST", "/account/deactivate", "{}", "bob-phone", "account deactivated, account deactivated"},
		{"not without a password", "DELETE", "/devices/LAPTOP", "{}", "alice-laptop alice-phone bob-phone", ""},
		{"another method", "GET", "/devices/LAPTOP", "", "alice-laptop alice-phone bob-phone", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, hs := newHomeserverHouse(t)
			h.setAll()
			h.request(tt.method, prefixV3+tt.path, "alice-phone", tt.body)
			if got := h.left(); got != tt.left {
				t.Errorf("left are %s, want %s", got, tt.left)
			}
			if got := h.reasons(); got != tt.reason {
				t.Errorf("reasons are %q, want %q", got, tt.reason)
			}
			if hits := hs.Hits(tt.method + " " + prefixV3 + tt.path); len(hits) != 1 {
				t.Errorf("the homeserver received %d requests", len(hits))
			}
			if strings.HasPrefix(tt.name, "logout") { // and although the token was cached
				if status, _ := h.try(prefixV3+"/pushers/set", "alice-phone", encode(t, body())); status != 401 {
					t.Errorf("set after the logout: %d", status)
				}
			}
		})
	}
}

// A request that the homeserver refuses or does not answer changes nothing, and the
// client gets the homeserver's answer.
func TestPushersStayUnlessTheHomeserverConfirms(t *testing.T) {
	h, hs := newHomeserverHouse(t)
	h.setAll()
	for status, want := range map[int]int{500: 500, 403: 403, 302: 302} {
		hs.Instead(func(*http.Request) (eventstest.Reply, bool) {
			return eventstest.Reply{Status: status, Body: `{"errcode":"M_X"}`}, true
		})
		if got, _, _ := h.request(http.MethodPost, prefixV3+"/logout/all", "alice-phone", "{}"); got != want {
			t.Errorf("the homeserver answered %d, the client received %d", status, got)
		}
	}
	hs.Instead(func(*http.Request) (eventstest.Reply, bool) { return eventstest.Reply{}, false })
	if got := h.left(); got != "alice-laptop alice-phone bob-phone" {
		t.Errorf("left are %s", got)
	}
	if status, _, answer := h.request(http.MethodPost, prefixV3+"/logout", "guess", "{}"); status != 401 || !strings.Contains(string(answer), "M_UNKNOWN_TOKEN") {
		t.Errorf("with another token: %d %s", status, answer)
	}
}

// The recheck finds a device that was logged out without a request through poked.
func TestRecheck(t *testing.T) {
	eventstest.Long(t)
	h, hs := newHomeserverHouse(t)
	h.setAll()
	hs.AddToken("alice-nodevice", alice, "")
	h.set("alice-nodevice", body(keys{"pushkey": "nodevice", "append": true}))
	r := h.recheck()
	all := "alice-laptop alice-phone bob-phone nodevice"

	hs.RemoveToken("alice-laptop")
	for name, reply := range map[string]eventstest.Reply{
		"it fails":       {Status: 500, Body: `{"errcode":"M_UNKNOWN"}`},
		"a proxy":        {Status: 404, Body: `<html>`},
		"another server": {Status: 404, Body: `{"errcode":"M_UNRECOGNIZED"}`},
		"it refuses us":  {Status: 401, Body: `{"errcode":"M_UNKNOWN_TOKEN"}`},
		"it refuses":     {Status: 403, Body: `{"errcode":"M_FORBIDDEN"}`},
	} {
		hs.Instead(func(*http.Request) (eventstest.Reply, bool) { return reply, true })
		h.checkAll(r)
		if got := h.left(); got != all {
			t.Errorf("%s: left are %s", name, got)
		}
	}
	hs.Instead(func(*http.Request) (eventstest.Reply, bool) { return eventstest.Reply{}, false })
	hs.Ignore(alice, bob)
	h.checkAll(r)
	if got := h.ignoredBy(alice); got != `["`+bob+`"]` {
		t.Errorf("alice ignores %s", got)
	}
	if got, why := h.left(), h.reasons(); got != "alice-phone bob-phone nodevice" || why != "device is gone" {
		t.Errorf("left are %s, gone for %s", got, why)
	}
	if n := len(hs.Hits("GET /_matrix/client/v3/pushrules/?user_id=%40alice")); n == 0 {
		t.Error("no request for rules")
	}
}

// A pusher that is set again while the recheck asks about its device stays.
func TestRecheckSparesWhatIsNew(t *testing.T) {
	h, hs := newHomeserverHouse(t)
	h.setAll()
	list, err := h.reg.store.DevicesAfter(t.Context(), store.Device{}, 10)
	if err != nil {
		t.Fatal(err)
	}
	h.set("alice-laptop", body(keys{"pushkey": "alice-laptop", "append": true}))
	hs.RemoveToken("alice-laptop")
	r := h.recheck()
	for _, d := range list {
		if err := r.check(t.Context(), d, false); err != nil {
			t.Fatal(err)
		}
	}
	if got := h.left(); got != "alice-laptop alice-phone bob-phone" {
		t.Errorf("left are %s", got)
	}
}

// recheck returns a recheck that runs when the test calls it.
func (h *house) recheck() *recheck {
	up := h.reg.api.upstream
	service := up.client.Service(eventstest.ASToken)
	return &recheck{
		upstream: up, service: service, known: homeserver.Introduce(service, up.log), every: minRecheck, log: up.log,
		local:  func(user events.UserID) bool { return strings.HasSuffix(string(user), ":example.org") },
		missed: make(chan struct{}, 1), soon: newSoon(),
	}
}

func (h *house) checkAll(r *recheck) {
	h.t.Helper()
	list, err := h.reg.store.DevicesAfter(h.t.Context(), store.Device{}, 10)
	if err != nil {
		h.t.Fatal(err)
	}
	var last store.Device
	for _, d := range list {
		if err := r.check(h.t.Context(), d, d.UserID != last.UserID); err != nil {
			h.t.Errorf("%s: %v", fmt.Sprint(d), err)
		}
		last = d
	}
}
