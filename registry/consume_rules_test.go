package registry

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"poked/events"
	"poked/events/eventstest"
	"poked/events/publish"
	"poked/events/pushrule"
	"poked/registry/store"
)

// publishing publishes changes of alice's account, as a homeserver does.
type publishing struct {
	h *house
	p *publish.Publisher
}

func (h *house) accounts() publishing { return publishing{h, publish.NewPublisher(h.conn)} }

func (s publishing) rules(content string) {
	s.h.t.Helper()
	s.check(s.p.PushRules(s.h.t.Context(), alice, json.RawMessage(content)))
}

func (s publishing) ignored(content string) {
	s.h.t.Helper()
	s.check(s.p.IgnoredUsers(s.h.t.Context(), alice, json.RawMessage(content)))
}

func (s publishing) check(err error) {
	s.h.t.Helper()
	if err != nil {
		s.h.t.Fatal(err)
	}
}

func (h *house) waitFor(what string, done func() bool) {
	h.t.Helper()
	eventstest.WaitFor(h.t, what, done)
}

func (h *house) rulesOfAlice() events.UserPushRules {
	h.t.Helper()
	rules, err := h.reg.store.PushRules(h.t.Context(), alice)
	if err != nil {
		h.t.Fatal(err)
	}
	return rules
}

// TestPublishedRules publishes rules of alice's, as her homeserver keeps them, and
// withdraws them.
func TestPublishedRules(t *testing.T) {
	h := newHouse(t)
	h.put("global/room/own", firstRule)
	h.put("device/h/room/own", firstRule)
	h.run()
	h.accounts().rules(`{"global":{"room":[{"rule_id":"theirs","actions":["notify"],"enabled":false}]},"device":{}}`)
	h.waitFor("the homeserver's rules", func() bool { return h.rulesOfAlice().Published != nil })
	whole := pushrule.Predefined(alice)
	whole.Room = []pushrule.Rule{{ID: "theirs", Actions: []pushrule.Action{`"notify"`}}}
	want := encode(t, whole)
	if got := h.get("global/"); got != want {
		t.Errorf("alice is shown %s, want %s", got, want)
	}
	if got := h.get("global/room/theirs/enabled"); got != `{"enabled":false}` {
		t.Errorf("the rule: %s", got)
	}
	for _, c := range [][3]string{
		{"PUT", "global/room/own", secondRule},
		{"DELETE", "global/room/own", ""},
		{"PUT", "global/room/theirs/enabled", `{"enabled":true}`},
		{"PUT", "global/override/.m.rule.master/actions", secondRule},
	} {
		status, e := h.rule(c[0], c[1], c[2])
		if status != http.StatusForbidden || e.Errcode != "M_FORBIDDEN" || !strings.Contains(e.Error, "homeserver") {
			t.Errorf("%s %s: %d %+v", c[0], c[1], status, e)
		}
	}
	h.put("device/h/room/own", secondRule) // a homeserver has no rules of devices
	h.waitSettled()
	published := h.inDatabase(store.InPushRules)[alice].Content.(events.UserPushRules)
	if published.UserID = alice; encode(t, published.Global()) != want {
		t.Errorf("dispatchers receive %s", encode(t, published))
	}
	h.accounts().rules(`{}`)
	h.waitFor("alice's own rules", func() bool { return h.rulesOfAlice().Published == nil })
	if got := h.get("global/room/own/actions"); got != firstRule {
		t.Errorf("alice's own rule has %s", got)
	}
	h.waitSettled()
}

func TestIgnoredUsers(t *testing.T) {
	h := newHouse(t)
	h.run()
	for _, c := range []struct {
		content string
		want    []events.UserID
	}{
		{`{"ignored_users":{"@c:x":{},"@b:x":{"a":1},"":{},"bob":{},"@bob":{},"@` + strings.Repeat("x", 255) + `:x":{}}}`, []events.UserID{"@b:x", "@c:x"}},
		{`{"ignored_users":{"@d:x":{}}}`, []events.UserID{"@d:x"}},
		{`{"ignored_users":{}}`, nil},
		{`{"ignored_users":{"@e:x":null}}`, []events.UserID{"@e:x"}},
		{`{}`, nil},
	} {
		h.accounts().ignored(c.content)
		h.waitFor("the list "+c.content, func() bool { return slices.Equal(h.rulesOfAlice().IgnoredUsers, c.want) })
		h.waitSettled()
	}
}

// TestAccountDataAgain checks that repeated account data changes nothing.
func TestAccountDataAgain(t *testing.T) {
	h := newHouse(t)
	h.run()
	for range 2 {
		h.accounts().rules(`{"global":{"room":[{"rule_id":"<theirs>","actions":["notify"]}]}}`)
		h.accounts().ignored(`{"ignored_users":{"@d:x":{},"@c:x":{}}}`)
	}
	h.accounts().ignored(`{"ignored_users":{}}`)
	h.waitFor("the last", func() bool { r := h.rulesOfAlice(); return r.Version > 1 && r.IgnoredUsers == nil })
	if v := h.rulesOfAlice().Version; v != 3 {
		t.Errorf("version %d, want 3", v)
	}
}

// TestUnreadableAccountData checks that a change that cannot be parsed becomes a dead
// letter, and that the changes after it are applied.
func TestUnreadableAccountData(t *testing.T) {
	h := newHouse(t)
	bad := []string{
		`{"global":[]}`, `{"global":7}`, `{"global":{},"global":{}}`,
		`{"global":{"room":[{"rule_id":"` + strings.Repeat("x", maxPublishedBytes) + `"}]}}`,
	}
	for _, content := range bad {
		h.accounts().rules(content)
	}
	h.accounts().ignored(`{"ignored_users":["@a:x"]}`)
	h.accounts().ignored(`{"ignored_users":{"@d:x":{}}}`)
	h.run()
	h.waitFor("the good one", func() bool { return len(h.rulesOfAlice().IgnoredUsers) == 1 })
	if n := len(h.nats.Stored("DEAD", "")); n != len(bad)+1 {
		t.Errorf("%d dead letters, want %d", n, len(bad)+1)
	}
	if rules := h.rulesOfAlice(); rules.Published != nil || rules.Version != 1 {
		t.Errorf("alice has %+v", rules)
	}
}

// TestDeactivationForgetsRules checks that nothing of a deactivated account is left.
func TestDeactivationForgetsRules(t *testing.T) {
	h := newHouse(t)
	h.put("global/room/a", firstRule)
	h.put("device/h/room/a", firstRule)
	h.put("global/override/.m.rule.master/enabled", `{"enabled":true}`)
	h.set("alice-phone", body())
	if status, _ := h.change("PUT", pushRules+"global/room/b", "bob-phone", firstRule); status != http.StatusOK {
		t.Fatal(status)
	}
	h.accounts().ignored(`{"ignored_users":{"@d:x":{}}}`)
	h.accounts().rules(`{"global":{}}`)
	h.run()
	h.waitFor("the account data", func() bool { return h.rulesOfAlice().Published != nil })
	h.waitSettled()
	version := h.rulesOfAlice().Version
	h.accounts().check(h.accounts().p.Deactivated(t.Context(), alice))
	h.waitFor("the rules to go", func() bool { rules := h.rulesOfAlice(); return rules.IsEmpty() })
	h.waitSettled()
	if n := h.count("push_rules") + h.count("predefined_changes") + h.count("account_data"); n != 1 {
		t.Errorf("%d rows left, want bob's", n)
	}
	if v := h.rulesOfAlice().Version; v <= version {
		t.Errorf("version %d after %d", v, version)
	}
	if held, err := h.inBucket(store.InPushRules); err != nil || len(held) != 1 {
		t.Errorf("the bucket has %v %v", held, err)
	}
}
