package registry

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"poked/events"
	"poked/events/eventstest"
)

// registration is poked's, as far as the registry reads it.
const registration = "id: poked\nurl: http://127.0.0.1:8721\nas_token:\nhs_token:\nsender_localpart: _poked\n" +
	"namespaces: {users: [{exclusive: false, regex: '@.*:example\\.org'}]}\n"

// newRegisteredHouse opens a registry that is an application service of its homeserver.
func newRegisteredHouse(t *testing.T, change ...func(*Config)) (*house, *eventstest.Homeserver) {
	t.Helper()
	return newHomeserverHouse(t, append(change, func(c *Config) { c.Homeserver.Registration = eventstest.WriteRegistration(t, registration) })...)
}

// away makes the homeserver fail, or not.
func away(hs *eventstest.Homeserver, is bool) {
	hs.Instead(func(*http.Request) (eventstest.Reply, bool) { return eventstest.Reply{Status: 503, Body: "{}"}, is })
}

// ruleThere changes alice's rules at the homeserver itself.
func (h *house) ruleThere(hs *eventstest.Homeserver, id string) {
	h.t.Helper()
	here := h.web.URL
	h.web.URL = hs.URL
	status, e := h.change(http.MethodPut, prefixV3+"/pushrules/global/content/"+id, "alice-phone", `{"pattern":"coffee","actions":["notify"]}`)
	h.web.URL = here
	if status != 200 {
		h.t.Fatalf("at the homeserver: %d %+v", status, e)
	}
}

// What clients changed at the homeserver while poked was down is in effect soon after
// its start, or after the homeserver's.
func TestG15ChangesMadeWhilePokedWasDown(t *testing.T) {
	eventstest.Long(t)
	h, hs := newRegisteredHouse(t)
	h.setAll()
	h.close()
	h.ruleThere(hs, "coffee")
	hs.Ignore(alice, bob)
	hs.RemoveToken("alice-laptop")
	changed := theirs("alice-phone", "")
	changed["lang"] = "fr"
	hs.SetPusher(alice, changed)
	hs.AddToken("alice-tablet", alice, "TABLET")
	hs.SetPusher(alice, theirs("tablet", "TABLET"))
	away(hs, true)
	h.open()
	h.run()
	h.waitFor("the homeserver to be asked", func() bool { return len(hs.Hits("GET "+whoami[4:])) > 0 })
	if got := h.left(); got != "alice-laptop alice-phone bob-phone" {
		t.Errorf("while the homeserver is down: %s", got)
	}
	away(hs, false)
	h.waitFor("all changes", func() bool {
		return h.left() == "alice-phone bob-phone tablet" && h.contentRules(alice) == `["coffee"]` && h.ignoredBy(alice) == `["`+bob+`"]`
	})
	h.waitFor("the homeserver's pushers", func() bool { return len(hs.Pushkeys(alice)) == 0 })
	for _, p := range h.database()[alice].Pushers {
		if want := map[string]string{"alice-phone": "fr PHONE", "tablet": "en TABLET"}[p.Pushkey]; p.Lang+" "+p.DeviceID != want {
			t.Errorf("%s: %s %s, want %s", p.Pushkey, p.Lang, p.DeviceID, want)
		}
	}
}

// The same is true of the time in which poked hung.
func TestG15ChangesMadeWhilePokedHung(t *testing.T) {
	eventstest.Long(t)
	h, hs := newRegisteredHouse(t)
	h.setAll()
	h.run()
	h.waitFor("the first round", func() bool {
		return len(hs.Hits("GET "+prefixV3+"/devices/PHONE?user_id=%40bob")) > 0
	})
	h.ruleThere(hs, "coffee")
	h.reg.store.Trouble().Note(ErrStoreAway)
	h.reg.store.Trouble().Note(nil) // long before the next look
	h.waitFor("the change", func() bool { return h.contentRules(alice) == `["coffee"]` })
}

// A clock that jumps is a process that stood still.
func TestHangIsNoticed(t *testing.T) {
	for late, want := range map[time.Duration]bool{0: false, hangAfter - time.Second: false, hangAfter + 2*time.Second: true} {
		w := clockWatch{last: time.Now()}
		if got := w.hung(w.last.Add(clockTick + late)); got != want {
			t.Errorf("%s late: %v", late, got)
		}
	}
}

// A user whose account changed is refreshed at once, and again when the homeserver has
// settled; further changes meanwhile cost nothing.
func TestSoon(t *testing.T) {
	eventstest.Long(t)
	synctest.Test(t, func(t *testing.T) {
		s, now := newSoon(), time.Now()
		for range 3 {
			s.add(alice, now)
			s.add(bob, now)
		}
		take := func() (list []events.UserID) {
			for user, ok := s.next(time.Now()); ok; user, ok = s.next(time.Now()) {
				list = append(list, user)
			}
			return list
		}
		if got := take(); !slices.Equal(got, []events.UserID{alice, bob}) {
			t.Errorf("at once: %q", got)
		}
		if d := s.until(time.Hour); d != settleFor {
			t.Errorf("the next is due in %s", d)
		}
		<-time.After(settleFor)
		if got := take(); !slices.Equal(got, []events.UserID{alice, bob}) {
			t.Errorf("later: %q", got)
		}
		if d := s.until(time.Hour); d != time.Hour {
			t.Errorf("then: %s", d)
		}
		for i := range 2 * maxSoon {
			s.add(events.UserID(fmt.Sprint(i)), now)
		}
		if len(s.list) > maxSoon+1 {
			t.Errorf("%d users wait", len(s.list))
		}
	})
}

// import adds pushers to the database of a registry that is stopped.
func (h *house) imported(users ...events.UserID) {
	h.t.Helper()
	i := importer(h.t, h.cfg.Database, false)
	for _, user := range users {
		if err := i.Add(h.t.Context(), Import{UserID: user, Body: body(keys{"pushkey": "of " + string(user)})}); err != nil {
			h.t.Fatal(err)
		}
	}
	if err := i.Close(); err != nil {
		h.t.Fatal(err)
	}
}

// Nobody is poked before their push rules are known: the pushers of imported users are
// published after them.
func TestImportedUsersAreFetchedBeforeTheirFirstPoke(t *testing.T) {
	eventstest.Long(t)
	h, hs := newRegisteredHouse(t)
	h.close()
	h.ruleThere(hs, "coffee")
	h.imported(alice, "@carol:elsewhere.org")
	h.imported(alice2, bob)
	refused := func(r *http.Request) bool { return strings.Contains(r.URL.RawQuery, "bob") }
	hs.Instead(func(r *http.Request) (eventstest.Reply, bool) {
		switch {
		case refused(r): // a user who is no more
			return eventstest.Reply{Status: 403, Body: `{"errcode":"M_FORBIDDEN"}`}, true
		case r.URL.Path == whoami[4:]:
			return eventstest.Reply{}, false
		}
		return eventstest.Reply{Status: 503, Body: "{}"}, true
	})
	h.open()
	h.run()
	h.waitFor("the users who need no rules", func() bool { return len(h.bucket()) == 2 })
	if h.bucket()[alice].Version != 0 {
		t.Error("alice would be poked by the predefined rules")
	}
	if got := h.pushkeysOf(alice); got != "of "+alice {
		t.Errorf("alice's own list: %s", got)
	}
	hs.Instead(func(r *http.Request) (eventstest.Reply, bool) {
		return eventstest.Reply{Status: 403, Body: `{"errcode":"M_FORBIDDEN"}`}, refused(r)
	})
	h.waitFor("alice", func() bool { return len(h.bucket()) == 4 })
	rules := false
	for set, err := range h.conn.AllPushRules(t.Context()) {
		rules = rules || err == nil && set.UserID == alice && len(set.Global().Content) == 1
	}
	if !rules {
		t.Error("alice's pushers were published before the rules")
	}
}

const alice2 = "@alice2:example.org"

// pushkeysOf returns what the database has of a user, published or not.
func (h *house) pushkeysOf(user events.UserID) string {
	h.t.Helper()
	set, err := h.reg.store.Pushers(h.t.Context(), user)
	if err != nil {
		h.t.Fatal(err)
	}
	list := []string{}
	for _, p := range set.Pushers {
		list = append(list, p.Pushkey)
	}
	return strings.Join(list, " ")
}

// Without a registration nobody can ask for an imported user, and the token file has no
// rules: they are published at once.
func TestImportedUsersWithoutARegistration(t *testing.T) {
	h := newHouse(t)
	h.close()
	h.imported(alice, bob)
	h.open()
	h.run()
	h.waitFor("the imported users", func() bool { return len(h.bucket()) == 2 })
}

// A registry whose registration the homeserver has not loaded says so and is not ready.
func TestRegistrationIsNotLoaded(t *testing.T) {
	eventstest.Long(t)
	h, hs := newRegisteredHouse(t)
	hs.Register(false)
	hs.SetPusher(alice, theirs("key", "PHONE"))
	h.run()
	h.waitFor("the registry to notice", func() bool { return strings.Contains(h.reg.Unready(), "as_token") })
	if got := h.shown("alice-phone"); got != "http key" {
		t.Errorf("shown are %s", got)
	}
	if n := strings.Count(h.log.String(), "level=WARN msg=\"the homeserver does not know poked's registration"); n != 1 {
		t.Errorf("%d warnings", n)
	}
	if n := len(hs.Hits("POST " + prefixV3 + "/pushers/set")); n != 0 || h.left() != "" {
		t.Error("a pusher was taken over that poked gets no events for")
	}
	hs.Register(true)
	h.waitFor("the registry to be ready", func() bool { return h.reg.Unready() == "" })
	if got := h.shown("alice-phone"); got != "http key" {
		t.Errorf("shown are %s", got)
	}
	h.waitFor("the pusher", func() bool { return h.left() == "key" && len(hs.Pushkeys(alice)) == 0 })
}
