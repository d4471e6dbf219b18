package registry

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"poked/events"
	"poked/events/eventstest"
	"poked/registry/store"
)

// withQuiet switches --do-not-disturb on.
func withQuiet(c *Config) { c.DoNotDisturb = true }

// disturb publishes m.do_not_disturb of alice.
func (s publishing) disturb(content string) {
	s.h.t.Helper()
	s.check(s.p.DoNotDisturb(s.h.t.Context(), alice, []byte(content)))
}

// quiet returns where a user wants no pokes.
func (h *house) quiet(user events.UserID) string {
	h.t.Helper()
	rules, err := h.reg.store.PushRules(h.t.Context(), user)
	if err != nil {
		h.t.Fatal(err)
	}
	return encode(h.t, rules.DoNotDisturb)
}

const quietAll, quietNowhere = `{"rooms":["*"]}`, "null"

// What a homeserver publishes of m.do_not_disturb reaches dispatchers, as far as it makes sense.
func TestDoNotDisturbIsPublished(t *testing.T) {
	h := newHouse(t, withQuiet)
	h.run()
	for _, c := range [][2]string{
		{`{"rooms":{"*":{}}}`, quietAll},
		{`{"rooms":{"!b:x":{"later":1},"!a:x":{},"":{},"x":{},"*x":{},"!` + strings.Repeat("x", 255) + `":{}},"more":1}`, `{"rooms":["!a:x","!b:x"]}`},
		{`{"rooms":{}}`, quietNowhere},
		{`{"rooms":{"!a:x":null},"poked.highlights":true}`, `{"rooms":["!a:x"],"highlights":true}`},
		{`{"rooms":{"*":{}},"poked.highlights":"yes"}`, quietAll},
		{`{}`, quietNowhere},
	} {
		h.accounts().disturb(c[0])
		h.waitFor(c[0], func() bool { return h.quiet(alice) == c[1] })
		h.waitSettled()
		if got, _ := h.inDatabase(store.InPushRules)[alice].Content.(events.UserPushRules); encode(t, got.DoNotDisturb) != c[1] {
			t.Errorf("%s: dispatchers receive %s, want %s", c[0], encode(t, got.DoNotDisturb), c[1])
		}
	}
	h.accounts().disturb(`{"rooms":["*"]}`)
	many := map[string]any{}
	for i := range maxQuietBytes / 100 {
		many[fmt.Sprintf("!%0100d:x", i)] = keys{}
	}
	h.accounts().disturb(encode(t, keys{"rooms": many}))
	h.accounts().disturb(`{"rooms":{"!z:x":{}}}`)
	h.waitFor("what follows", func() bool { return h.quiet(alice) == `{"rooms":["!z:x"]}` })
	if n := len(h.nats.Stored("DEAD", "")); n != 2 {
		t.Errorf("%d dead letters, want 2", n)
	}
	h.accounts().check(h.accounts().p.Deactivated(t.Context(), alice))
	h.waitFor("nothing of a deactivated account", func() bool { return h.quiet(alice) == quietNowhere })
}

// Without --do-not-disturb it is not in effect, and what was in effect before is forgotten.
func TestDoNotDisturbIsOffUnlessSwitchedOn(t *testing.T) {
	h := newHouse(t, withQuiet)
	stop := h.run()
	h.accounts().disturb(`{"rooms":{"*":{}}}`)
	h.waitFor("do not disturb", func() bool { return h.quiet(alice) == quietAll })
	h.waitSettled()
	stop()
	h.close()
	h.cfg.DoNotDisturb = false
	h.open()
	h.run()
	if got := h.quiet(alice); got != quietNowhere {
		t.Errorf("without the flag it is %s", got)
	}
	h.accounts().disturb(`{"rooms":{"*":{}}}`)
	h.accounts().ignored(`{"ignored_users":{"@d:x":{}}}`)
	h.waitFor("what follows", func() bool { return len(h.rulesOfAlice().IgnoredUsers) == 1 })
	h.waitSettled()
	if got, _ := h.inDatabase(store.InPushRules)[alice].Content.(events.UserPushRules); got.DoNotDisturb != nil {
		t.Errorf("dispatchers receive %+v", got.DoNotDisturb)
	}
}

// A change by way of poked is in effect when it is answered, under either name; the one of the
// specification counts if there are both.
func TestG15DoNotDisturbPassesThrough(t *testing.T) {
	eventstest.Long(t)
	h, hs := newHomeserverHouse(t, withQuiet)
	for _, prefix := range []string{prefixV3, prefixR0} {
		data := prefix + "/user/" + url.PathEscape(alice) + "/account_data/"
		for _, c := range [][3]string{
			{"dm.filament.do_not_disturb", `{"rooms":{"*":{}}}`, quietAll},
			{"m.do_not_disturb", `{"rooms":{"!a:x":{}}}`, `{"rooms":["!a:x"]}`},
			{"dm.filament.do_not_disturb", `{"rooms":{"!b:x":{}}}`, `{"rooms":["!a:x"]}`},
			{"m.do_not_disturb", `{"rooms":{}}`, quietNowhere},
		} {
			status, _, answer := h.request(http.MethodPut, data+c[0], "alice-phone", c[1])
			if got := h.quiet(alice); status != 200 || got != c[2] {
				t.Errorf("%s %s: %d %s, it is %s, want %s", c[0], c[1], status, answer, got, c[2])
			}
		}
		hs.SetData(alice, "m.do_not_disturb", "null")
	}
	for range 2 { // what was changed past poked is found, when a client is seen and when poked looks
		hs.SetData(alice, "m.do_not_disturb", `{"rooms":{"*":{}}}`)
		h.set("alice-phone", body())
		if got := h.quiet(alice); got != quietAll {
			t.Errorf("after the set of a pusher it is %s", got)
		}
	}
}

// Changes past poked are found when it looks at the homeserver.
func TestG15DoNotDisturbIsFoundAtTheHomeserver(t *testing.T) {
	eventstest.Long(t)
	h, hs := newRegisteredHouse(t, withQuiet)
	h.setAll()
	hs.SetData(alice, "dm.filament.do_not_disturb", `{"rooms":{"*":{}}}`)
	h.run()
	h.waitFor("do not disturb", func() bool { return h.quiet(alice) == quietAll })
}

// An older message that arrives late replaces nothing newer, nor what a deactivation has removed.
func TestDoNotDisturbKeepsItsOrder(t *testing.T) {
	h := newHouse(t, withQuiet)
	for _, c := range []struct {
		kind, room string
		seq        uint64
		want       string
	}{
		{events.AccountDoNotDisturb, "*", 10, quietAll},
		{events.AccountDoNotDisturb, "!old", 9, quietAll},
		{events.AccountDeactivated, "", 20, quietNowhere},
		{events.AccountDoNotDisturb, "!old", 15, quietNowhere},
		{events.AccountDoNotDisturb, "!new", 21, `{"rooms":["!new"]}`},
	} {
		change := events.AccountChange{Kind: c.kind, UserID: alice, Seq: c.seq, Log: 1, Content: []byte(`{"rooms":{"` + c.room + `":{}}}`)}
		if err := h.reg.accountChanged(t.Context(), change); err != nil {
			t.Fatal(err)
		}
		if got := h.quiet(alice); got != c.want {
			t.Errorf("after %s %d it is %s, want %s", c.kind, c.seq, got, c.want)
		}
	}
}
