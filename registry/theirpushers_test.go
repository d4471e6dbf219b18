package registry

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"poked/events"
	"poked/events/eventstest"
)

// shown returns kind and pushkey of each pusher that GET shows, sorted.
func (h *house) shown(token string) string {
	h.t.Helper()
	var list struct {
		Pushers []struct{ Kind, Pushkey string }
	}
	status, _, answer := h.request(http.MethodGet, prefixV3+"/pushers", token, "")
	if err := json.Unmarshal(answer, &list); err != nil || status != http.StatusOK {
		h.t.Fatalf("pushers: %d %s", status, answer)
	}
	all := []string{}
	for _, p := range list.Pushers {
		all = append(all, p.Kind+" "+p.Pushkey)
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// set answers pushers/set of alice's phone and wants this status.
func (h *house) wantSet(want int, changes ...map[string]any) {
	h.t.Helper()
	status, _, answer := h.request(http.MethodPost, prefixV3+"/pushers/set", "alice-phone", encode(h.t, body(changes...)))
	if status != want {
		h.t.Errorf("set: %d %s, want %d", status, answer, want)
	}
}

var email = keys{"kind": "email", "app_id": "m.email", "pushkey": "alice@example.org", "data": keys{"brand": "x"}}

// What poked does not deliver is the homeserver's: it is set there, shown with the others,
// and deleted there.
func TestPushersOfOtherKinds(t *testing.T) {
	eventstest.Long(t)
	h, hs := newHomeserverHouse(t)
	h.wantSet(200)
	h.wantSet(200, email)
	h.wantSet(200, keys{"kind": "org.example.sms", "app_id": "any thing", "pushkey": "+49"})
	if got := h.shown("alice-phone"); got != "email alice@example.org, http key, org.example.sms +49" {
		t.Errorf("shown are %s", got)
	}
	if got := hs.Pushkeys(alice); !slices.Equal(got, []string{"alice@example.org", "+49"}) {
		t.Errorf("the homeserver has %q", got)
	}
	if got := h.left(); got != "key" {
		t.Errorf("here are %s", got)
	}
	test := encode(t, keys{"app_id": "m.email", "pushkey": "alice@example.org", "event_id": "$test"})
	if status, e := h.try(testV3, "alice-phone", test); status != http.StatusBadRequest || !strings.Contains(e.Error, "email") {
		t.Errorf("a test push by e-mail: %d %+v", status, e)
	}
	h.wantSet(200, email, keys{"kind": null})
	h.wantSet(200, keys{"kind": null, "app_id": "any thing", "pushkey": "+49"}) // a name that is refused here
	h.wantSet(200, keys{"kind": null})
	if got := h.shown("alice-phone"); got != "" {
		t.Errorf("shown after they were deleted are %s", got)
	}
	h.wantSet(200, keys{"kind": null}) // there is none
}

// A pusher of one kind replaces that of another kind with the same name, wherever it is.
func TestPusherChangesItsKind(t *testing.T) {
	eventstest.Long(t)
	h, hs := newHomeserverHouse(t)
	for _, kind := range []string{"http", "email", "http"} {
		h.wantSet(200, keys{"kind": kind})
		if got := h.shown("alice-phone"); got != kind+" key" {
			t.Errorf("shown are %s, want %s", got, kind)
		}
	}
	if got := hs.Pushkeys(alice); len(got) != 0 {
		t.Errorf("the homeserver has %q", got)
	}
}

// Nothing is said to be done that the homeserver refused, or did not answer.
func TestHomeserverRefusesAPusher(t *testing.T) {
	eventstest.Long(t)
	h, hs := newHomeserverHouse(t)
	h.wantSet(200)
	h.wantSet(200, email)
	for _, tt := range []struct {
		reply             eventstest.Reply
		set, del, delOurs int
	}{
		{eventstest.Reply{Status: 400, Body: `{"errcode":"M_MISSING_PARAM"}`}, 400, 502, 200},
		{eventstest.Reply{Status: 500, Body: `{"errcode":"M_UNKNOWN"}`}, 500, 502, 200},
	} {
		hs.Instead(func(r *http.Request) (eventstest.Reply, bool) {
			return tt.reply, strings.HasSuffix(r.URL.Path, "/pushers/set")
		})
		h.wantSet(tt.set, email)
		h.wantSet(tt.del, email, keys{"kind": null})
		h.wantSet(200, keys{"pushkey": "new"})
		h.wantSet(tt.delOurs, keys{"pushkey": "new", "kind": null})
	}
	hs.Instead(func(r *http.Request) (eventstest.Reply, bool) {
		return eventstest.Reply{Status: 502, Body: "<html>"}, strings.Contains(r.URL.Path, "/pushers")
	})
	h.wantSet(502, email, keys{"kind": null})
	h.wantSet(502, keys{"kind": null}) // the homeserver may have it as well
	h.wantSet(502)
	if status, _, answer := h.request(http.MethodGet, prefixV3+"/pushers", "alice-phone", ""); status != 502 {
		t.Errorf("half a list: %d %s", status, answer)
	}
	hs.Instead(func(*http.Request) (eventstest.Reply, bool) { return eventstest.Reply{}, false })
	if got := h.shown("alice-phone"); got != "email alice@example.org, http key" {
		t.Errorf("left are %s", got)
	}
	// A homeserver without pushers has none, and takes none.
	hs.Instead(func(r *http.Request) (eventstest.Reply, bool) {
		return eventstest.Reply{Status: 404, Body: `{"errcode":"M_UNRECOGNIZED"}`}, strings.Contains(r.URL.Path, "/pushers")
	})
	h.wantSet(400, email)
	h.wantSet(200, keys{"pushkey": "second"})
	if got := h.shown("alice-phone"); got != "http key, http second" {
		t.Errorf("left are %s", got)
	}
}

// theirs is an HTTP pusher as a homeserver shows it.
func theirs(pushkey, device string) map[string]any {
	return body(keys{"pushkey": pushkey, "profile_tag": null, "enabled": true, "org.matrix.msc3881.device_id": device, "pushkey_ts": 5})
}

// A pusher that is set here is deleted at the homeserver, which would poke as well.
func TestSetTakesThePusherFromTheHomeserver(t *testing.T) {
	eventstest.Long(t)
	h, hs := newHomeserverHouse(t)
	hs.SetPusher(alice, theirs("key", "PHONE"))
	hs.SetPusher(alice, keys{"kind": "email", "app_id": "m.email", "pushkey": "mail"})
	hs.Instead(func(r *http.Request) (eventstest.Reply, bool) {
		return eventstest.Reply{Status: 500, Body: "{}"}, strings.HasSuffix(r.URL.Path, "/pushers/set")
	})
	h.wantSet(502)
	if got := h.left(); got != "" {
		t.Errorf("it is here and there: %s", got)
	}
	hs.Instead(func(*http.Request) (eventstest.Reply, bool) { return eventstest.Reply{}, false })
	h.wantSet(200)
	if got := hs.Pushkeys(alice); !slices.Equal(got, []string{"mail"}) {
		t.Errorf("the homeserver has %q", got)
	}
	if got := h.shown("alice-phone"); got != "email mail, http key" {
		t.Errorf("shown are %s", got)
	}
}

// The first request of a user moves the pushers that the homeserver has to poked: those of
// which the device is certain, with the user's rules.
func TestPushersAreTakenOver(t *testing.T) {
	eventstest.Long(t)
	h, hs := newHomeserverHouse(t)
	h.wantSet(200, keys{"pushkey": "both", "lang": "fr"})
	h.exec(`INSERT INTO pushers (user_id, app_id, pushkey, kind, instance_handle, app_display_name, device_display_name, lang, data, device_id, pushkey_ts)
		SELECT user_id, app_id, 'imported', kind, '', '', '', '', data, '', 1 FROM pushers`)
	h.run()
	hs.SetPusher(alice, theirs("of the laptop", "LAPTOP"))
	hs.SetPusher(alice, theirs("both", ""))
	hs.SetPusher(alice, theirs("imported", ""))
	hs.SetPusher(alice, theirs("of nobody knows which", ""))
	hs.SetPusher(alice, body(keys{"pushkey": "to a private address", "device_id": "PHONE", "data": keys{"url": "http://10.0.0.1/_matrix/push/v1/notify"}}))
	hs.SetPusher(alice, keys{"kind": "email", "app_id": "m.email", "pushkey": "mail"})
	hs.SetPusher(bob, theirs("of the only device", ""))
	hs.Ignore(bob, alice)
	h.reg.api.upstream.newcomers.seen.Purge() // alice's first request was the set
	for _, token := range []string{"alice-laptop", "bob-phone"} {
		if status, _, answer := h.request(http.MethodGet, prefixV3+"/pushrules/", token, ""); status != 200 {
			t.Fatalf("rules: %d %s", status, answer)
		}
	}
	h.waitFor("the pushers", func() bool {
		return h.left() == "both imported of the laptop of the only device" && len(hs.Pushkeys(alice)) == 3 && len(hs.Pushkeys(bob)) == 0
	})
	if got := hs.Pushkeys(alice); !slices.Equal(got, []string{"of nobody knows which", "to a private address", "mail"}) {
		t.Errorf("the homeserver has %q", got)
	}
	if got := h.ignoredBy(bob); got != `["`+alice+`"]` {
		t.Errorf("bob ignores %s", got)
	}
	devices := map[string]string{}
	for _, set := range h.database() {
		for _, p := range set.Pushers {
			devices[p.Pushkey] = p.DeviceID + " " + p.Lang
		}
	}
	if got := encode(t, devices); got != `{"both":"PHONE en","imported":" en","of the laptop":"LAPTOP en","of the only device":"PHONE en"}` {
		t.Errorf("devices %s", got)
	}
	if strings.Contains(h.log.String(), "nobody knows") || strings.Contains(h.log.String(), "private address") {
		t.Error("the log holds a pushkey")
	}
}

// A takeover that the homeserver interrupts is repeated, and loses nothing.
func TestTakeOverIsRepeated(t *testing.T) {
	eventstest.Long(t)
	h, hs := newHomeserverHouse(t)
	up := h.reg.api.upstream
	account := up.client.Account(alice, "alice-phone")
	hs.SetPusher(alice, theirs("key", "PHONE"))
	for name, path := range map[string]string{"rules": "/pushrules/", "ignored": "m.ignored_user_list", "list": "/pushers", "delete": "/pushers/set"} {
		hs.Instead(func(r *http.Request) (eventstest.Reply, bool) {
			return eventstest.Reply{Status: 503, Body: "{}"}, strings.HasSuffix(r.URL.Path, path)
		})
		if err := up.takeOver(t.Context(), account); err == nil {
			t.Errorf("%s: no error", name)
		}
		if n := len(hs.Pushkeys(alice)); n != 1 {
			t.Errorf("%s: the homeserver has %d", name, n)
		}
	}
	hs.Instead(func(*http.Request) (eventstest.Reply, bool) { return eventstest.Reply{}, false })
	version := func() int64 { return h.database()[alice].Version }
	stored := version()
	if err := up.takeOver(t.Context(), account); err != nil || len(hs.Pushkeys(alice)) != 0 || h.left() != "key" {
		t.Errorf("again: %v, the homeserver has %q, here are %s", err, hs.Pushkeys(alice), h.left())
	}
	if version() != stored {
		t.Error("the same pusher was published twice")
	}
}

// Users do not share what they have at the homeserver (G10).
func TestG10TakeOverIsTheUsersOwn(t *testing.T) {
	eventstest.Long(t)
	h, hs := newHomeserverHouse(t)
	h.set("bob-phone", body(keys{"pushkey": "key"}))
	hs.SetPusher(alice, theirs("key", "PHONE"))
	if err := h.reg.api.upstream.takeOver(t.Context(), h.reg.api.upstream.client.Account(alice, "alice-phone")); err != nil {
		t.Fatal(err)
	}
	for _, user := range []events.UserID{alice, bob} {
		if n := len(h.database()[user].Pushers); n != 1 {
			t.Errorf("%s has %d pushers", user, n)
		}
	}
}
