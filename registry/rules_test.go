package registry

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"poked/events/eventstest"
	"poked/events/pushrule"
	"poked/registry/store"
)

// pushRules is the prefix of the paths in tests; it has both scopes.
const pushRules = prefixOriginal + "/pushrules/"

const (
	firstRule  = `{"actions":["notify"]}`
	secondRule = `{"actions":["dont_notify",{"set_tweak":"sound","value":"<bell>"}]}`
)

// rule sends a request about alice's rules, whose answer is {} or an error.
func (h *house) rule(method, path, body string) (int, errorBody) {
	h.t.Helper()
	return h.change(method, pushRules+path, "alice-phone", body)
}

// put sets a rule of alice's, or part of one, and checks that it succeeds.
func (h *house) put(path, body string) {
	h.t.Helper()
	if status, e := h.rule(http.MethodPut, path, body); status != http.StatusOK {
		h.t.Fatalf("put %s: %d %+v", path, status, e)
	}
}

// get returns the answer to a GET of alice's.
func (h *house) get(path string) string {
	h.t.Helper()
	status, _, answer := h.request(http.MethodGet, pushRules+path, "alice-phone", "")
	if status != http.StatusOK {
		h.t.Fatalf("get %s: %d %s", path, status, answer)
	}
	return strings.TrimSpace(string(answer))
}

// ruleIDs returns the ids of alice's rules of a kind, without predefined ones.
func (h *house) ruleIDs(scope, kind string) []string {
	h.t.Helper()
	var rules pushrule.Ruleset
	if err := json.Unmarshal([]byte(h.get(scope)), &rules); err != nil {
		h.t.Fatal(err)
	}
	ids := []string{}
	for _, rule := range *rules.Of(pushrule.Kind(kind)) {
		if !rule.Default {
			ids = append(ids, rule.ID)
		}
	}
	return ids
}

// TestPredefinedRules checks that a user who changed nothing gets the predefined rules,
// as a whole and in parts.
func TestPredefinedRules(t *testing.T) {
	h := newHouse(t)
	predefined := encode(t, pushrule.Predefined(alice))
	for _, prefix := range []string{prefixV3, prefixR0, prefixOriginal} {
		for path, want := range map[string]string{
			"": `{"global":` + predefined + `}`, "global/": predefined,
			"global/override/.m.rule.master":         `{"rule_id":".m.rule.master","default":true,"enabled":false,"conditions":[],"actions":[]}`,
			"global/override/.m.rule.master/enabled": `{"enabled":false}`,
			"global/override/.m.rule.master/actions": `{"actions":[]}`,
			"global/underride/.m.rule.call/actions":  `{"actions":["notify",{"set_tweak":"sound","value":"ring"}]}`,
		} {
			status, _, answer := h.request("GET", prefix+"/pushrules/"+path, "alice-phone", "")
			if status != http.StatusOK || strings.TrimSpace(string(answer)) != want {
				t.Errorf("%s %s: %d %s, want %s", prefix, path, status, answer, want)
			}
		}
	}
}

// TestRuleOfEachKind sets, reads, changes and deletes a rule of each kind.
func TestRuleOfEachKind(t *testing.T) {
	eventstest.Long(t)
	h := newHouse(t)
	const unknown = `{"kind":"org.example.moon","phase":1.50,"x":"<&>"}`
	odd := strings.Trim(encode(t, oddest(t)), `"`)
	for kind, c := range map[string]struct{ put, want string }{
		"override":  {`"conditions":[` + unknown + `],"pattern":"x",`, `"conditions":[` + unknown + `],`},
		"underride": {``, `"conditions":[],`},
		"content":   {`"pattern":"ca*` + odd + `<","conditions":[],`, `"pattern":"ca*` + odd + `<",`},
		"room":      {`"pattern":"x","conditions":7,`, ``},
		"sender":    {`"default":true,"enabled":false,"rule_id":"other",`, ``},
	} {
		for _, scope := range []string{"global/", "device/h/"} {
			path := scope + kind + "/" + "%21a%20%3Cb%3E%25:example.org"
			const id = `"!a <b>%:example.org"`
			h.put(path, `{`+c.put+`"actions":["notify"]}`)
			want := `{"rule_id":` + id + `,"default":false,"enabled":true,` + c.want + `"actions":["notify"]}`
			if got := h.get(path); !sameJSON(t, []byte(got), []byte(want)) || strings.Contains(want, "1.50") && !strings.Contains(got, "1.50") {
				t.Errorf("%s: %s, want %s", path, got, want)
			}
			h.put(path+"/enabled", `{"enabled":false}`)
			h.put(path+"/actions", secondRule)
			h.put(path, `{`+c.put+`"actions":["coalesce"]}`)
			if e, a := h.get(path+"/enabled"), h.get(path+"/actions"); e != `{"enabled":false}` || a != `{"actions":["coalesce"]}` {
				t.Errorf("%s after changes: %s %s", path, e, a)
			}
			if status, _ := h.rule("DELETE", path, ""); status != http.StatusOK {
				t.Errorf("delete %s: %d", path, status)
			}
			if status, _, _ := h.request("GET", pushRules+path, "alice-phone", ""); status != http.StatusNotFound {
				t.Errorf("%s after its deletion: %d", path, status)
			}
		}
	}
	if n := h.count("push_rules"); n != 0 {
		t.Errorf("%d rules left", n)
	}
}

// TestRulesRefused sends every kind of invalid request.
func TestRulesRefused(t *testing.T) {
	eventstest.Long(t)
	h := newHouse(t)
	h.put("global/room/there", firstRule)
	long := strings.Repeat("x", 256)
	actions := func(list string) string { return `{"actions":[` + list + `]}` }
	conditions := func(list string) string { return `{"actions":[],"conditions":` + list + `}` }
	for _, c := range []struct {
		method, path, body string
		status             int
		errcode            string
	}{
		{"GET", "other/", "", 400, "M_INVALID_PARAM"},
		{"GET", "global", "", 400, "M_INVALID_PARAM"},
		{"GET", "global/room", "", 400, "M_INVALID_PARAM"},
		{"GET", "global/room/", "", 400, "M_INVALID_PARAM"},
		{"PUT", "global/room/", firstRule, 400, "M_INVALID_PARAM"},
		{"PUT", "global/", firstRule, 405, "M_UNRECOGNIZED"},
		{"GET", "global/moon/there", "", 400, "M_INVALID_PARAM"},
		{"GET", "global/room/there/", "", 400, "M_INVALID_PARAM"},
		{"GET", "global/room/there/pattern", "", 400, "M_INVALID_PARAM"},
		{"PUT", "global/room/there/enabled/x", "", 400, "M_INVALID_PARAM"},
		{"DELETE", "global/room/there/enabled", "", 405, "M_UNRECOGNIZED"},
		{"PATCH", "global/room/there", "", 405, "M_UNRECOGNIZED"},
		{"GET", "device/", "", 400, "M_INVALID_PARAM"},
		{"GET", "device/h", "", 400, "M_INVALID_PARAM"},
		{"GET", "device/" + strings.Repeat("x", 33) + "/", "", 400, "M_INVALID_PARAM"},
		{"GET", "device/%FF/", "", 400, "M_INVALID_PARAM"},
		{"PUT", "device/" + strings.Repeat("x", 33) + "/room/a", firstRule, 400, "M_INVALID_PARAM"},

		{"GET", "global/room/gone", "", 404, "M_NOT_FOUND"},
		{"GET", "global/content/there/enabled", "", 404, "M_NOT_FOUND"},
		{"GET", "device/h/room/there/actions", "", 404, "M_NOT_FOUND"},
		{"GET", "device/h/override/.m.rule.master", "", 404, "M_NOT_FOUND"},
		{"DELETE", "global/room/gone", "", 404, "M_NOT_FOUND"},
		{"DELETE", "global/override/.m.rule.gone", "", 404, "M_NOT_FOUND"},
		{"DELETE", "global/override/.m.rule.master", "", 400, "M_INVALID_PARAM"},
		{"PUT", "global/room/gone/enabled", `{"enabled":true}`, 404, "M_NOT_FOUND"},
		{"PUT", "global/room/gone/actions", firstRule, 404, "M_NOT_FOUND"},
		{"PUT", "global/room/.m.rule.master/enabled", `{"enabled":true}`, 404, "M_NOT_FOUND"},
		{"PUT", "device/h/override/.m.rule.master/enabled", `{"enabled":true}`, 404, "M_NOT_FOUND"},

		{"PUT", "global/room/.mine", firstRule, 400, "M_INVALID_PARAM"},
		{"PUT", "global/override/.m.rule.master", firstRule, 400, "M_INVALID_PARAM"},
		{"PUT", "global/room/a%2Fb", firstRule, 400, "M_INVALID_PARAM"},
		{"PUT", "global/room/a%5Cb", firstRule, 400, "M_INVALID_PARAM"},
		{"PUT", "global/room/%FF", firstRule, 400, "M_INVALID_PARAM"},
		{"PUT", "global/room/" + long, firstRule, 400, "M_INVALID_PARAM"},

		{"PUT", "global/room/a?before=gone", firstRule, 400, "M_UNKNOWN"},
		{"PUT", "global/room/a?after=gone", firstRule, 400, "M_UNKNOWN"},
		{"PUT", "global/sender/a?after=there", firstRule, 400, "M_UNKNOWN"},
		{"PUT", "device/h/room/a?after=there", firstRule, 400, "M_UNKNOWN"},
		{"PUT", "global/room/there?after=there", firstRule, 400, "M_INVALID_PARAM"},
		{"PUT", "global/override/a?before=.m.rule.master", firstRule, 400, "M_INVALID_PARAM"},

		{"PUT", "global/room/a", "", 400, "M_NOT_JSON"},
		{"PUT", "global/room/a", "[]", 400, "M_BAD_JSON"},
		{"PUT", "global/room/a", "{}", 400, "M_MISSING_PARAM"},
		{"PUT", "global/room/a", `{"actions":null}`, 400, "M_BAD_JSON"},
		{"PUT", "global/room/a", `{"actions":"notify"}`, 400, "M_BAD_JSON"},
		{"PUT", "global/room/a", actions(`"moon"`), 400, "M_INVALID_PARAM"},
		{"PUT", "global/room/a", actions(`{}`), 400, "M_INVALID_PARAM"},
		{"PUT", "global/room/a", actions(`{"set_tweak":7}`), 400, "M_INVALID_PARAM"},
		{"PUT", "global/room/a", actions(`{"set_tweak":null}`), 400, "M_INVALID_PARAM"},
		{"PUT", "global/room/a", actions(`null`), 400, "M_INVALID_PARAM"},
		{"PUT", "global/override/a", conditions(`7`), 400, "M_BAD_JSON"},
		{"PUT", "global/override/a", conditions(`[7]`), 400, "M_INVALID_PARAM"},
		{"PUT", "global/override/a", conditions(`[{}]`), 400, "M_INVALID_PARAM"},
		{"PUT", "global/override/a", conditions(`[{"kind":null}]`), 400, "M_INVALID_PARAM"},
		{"PUT", "global/content/a", firstRule, 400, "M_MISSING_PARAM"},
		{"PUT", "global/content/a", `{"pattern":7,"actions":[]}`, 400, "M_BAD_JSON"},
		{"PUT", "global/room/there/enabled", `{}`, 400, "M_MISSING_PARAM"},
		{"PUT", "global/room/there/enabled", `{"enabled":null}`, 400, "M_BAD_JSON"},
		{"PUT", "global/room/there/actions", `{}`, 400, "M_MISSING_PARAM"},
		{"PUT", "global/room/there/actions", actions(`"moon"`), 400, "M_INVALID_PARAM"},
	} {
		if status, e := h.rule(c.method, c.path, c.body); status != c.status || e.Errcode != c.errcode || e.Error == "" {
			t.Errorf("%s %s %s: %d %+v, want %d %s", c.method, c.path, c.body, status, e, c.status, c.errcode)
		}
	}
	for path, status := range map[string]int{
		prefixV3 + "/pushrules": 404, prefixOriginal + "/pushrules": 404, prefixV3 + "/pushrule/": 404,
		prefixV3 + "/pushrules/device/h/": 400, prefixR0 + "/pushrules/device/h/room/there": 400,
	} {
		if got, _ := h.change("GET", path, "alice-phone", ""); got != status {
			t.Errorf("GET %s: %d, want %d", path, got, status)
		}
	}
	if got, v := h.ruleIDs("global/", "room"), h.inDatabase(store.InPushRules)[alice].Version; !slices.Equal(got, []string{"there"}) || v != 1 {
		t.Errorf("refusals left %q in version %d", got, v)
	}
}

// TestPredefinedRuleChanged changes parts of predefined rules, and changes them back.
func TestPredefinedRuleChanged(t *testing.T) {
	eventstest.Long(t)
	h := newHouse(t)
	h.run()
	h.put("global/override/.m.rule.master/enabled", `{"enabled":true}`)
	h.put("global/underride/.m.rule.message/actions", secondRule)
	h.put("global/underride/.m.rule.message/enabled", `{"enabled":false}`)
	h.waitSettled()
	for path, want := range map[string]string{
		"global/override/.m.rule.master/enabled":   `{"enabled":true}`,
		"global/override/.m.rule.master/actions":   `{"actions":[]}`,
		"global/underride/.m.rule.message/enabled": `{"enabled":false}`,
		"global/underride/.m.rule.message/actions": secondRule,
	} {
		if got := h.get(path); !sameJSON(t, []byte(got), []byte(want)) {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	h.put("global/override/.m.rule.master/enabled", `{"enabled":false}`)
	h.put("global/underride/.m.rule.message/enabled", `{"enabled":true}`)
	h.put("global/underride/.m.rule.message/actions", `{"actions":["notify"]}`)
	h.waitSettled()
	if n := h.count("predefined_changes"); n != 0 {
		t.Errorf("%d changes kept of rules that are as predefined", n)
	}
	if held, err := h.inBucket(store.InPushRules); err != nil || len(held) != 0 {
		t.Errorf("the bucket still has %v %v", held, err)
	}
}

// TestNoChangeIsNotPublished repeats every change: the second time nothing is published.
func TestNoChangeIsNotPublished(t *testing.T) {
	eventstest.Long(t)
	h := newHouse(t)
	h.put("global/room/z", firstRule)
	for _, c := range []struct{ path, body string }{
		{"global/room/a", firstRule},
		{"global/room/b?after=a", firstRule},
		{"global/room/a?before=b", firstRule},
		{"global/room/b/enabled", `{"enabled":false}`},
		{"global/room/b/actions", secondRule},
		{"global/override/o", `{"actions":[],"conditions":[{"kind":"x","y":"<"}]}`},
		{"global/content/c", `{"actions":[],"pattern":"<"}`},
		{"global/override/.m.rule.master/enabled", `{"enabled":true}`},
		{"global/override/.m.rule.master/actions", secondRule},
		{"device/h/room/a", firstRule},
	} {
		h.put(c.path, c.body)
		before := h.inDatabase(store.InPushRules)[alice]
		h.exec("DELETE FROM outbox")
		h.put(c.path, c.body)
		if after := h.inDatabase(store.InPushRules)[alice]; after.Version != before.Version || h.count("outbox") != 0 {
			t.Errorf("%s: version %d after %d, %d rows in the outbox", c.path, after.Version, before.Version, h.count("outbox"))
		}
	}
	if v := h.inDatabase(store.InPushRules)[alice].Version; v != 10 { // one of the steps above changes nothing
		t.Errorf("version %d, want 10", v)
	}
}

// TestG10RulesOfOthers checks that nobody sees or changes another user's rules.
func TestG10RulesOfOthers(t *testing.T) {
	h := newHouse(t)
	h.put("global/room/a", firstRule)
	h.put("device/h/room/a", firstRule)
	for _, c := range []struct {
		method, path, body string
		status             int
	}{
		{"GET", "global/room/a", "", 404},
		{"GET", "device/h/room/a", "", 404},
		{"DELETE", "global/room/a", "", 404},
		{"PUT", "global/room/a/enabled", `{"enabled":false}`, 404},
		{"PUT", "global/room/b?after=a", firstRule, 400},
		{"POST", "device/h/copy", `{"instance_handle":"i"}`, 404},
		{"PUT", "global/override/.m.rule.master/enabled", `{"enabled":true}`, 200},
		{"PUT", "global/room/a", secondRule, 200},
	} {
		if status, e := h.change(c.method, pushRules+c.path, "bob-phone", c.body); status != c.status {
			t.Errorf("bob: %s %s: %d %+v, want %d", c.method, c.path, status, e, c.status)
		}
	}
	if got := h.get("global/room/a/actions"); got != firstRule {
		t.Errorf("alice's rule has %s", got)
	}
	if got := h.get("global/override/.m.rule.master/enabled"); got != `{"enabled":false}` {
		t.Errorf("alice's master rule has %s", got)
	}
	if status, _ := h.change("GET", pushRules, "", ""); status != http.StatusUnauthorized {
		t.Errorf("without a token: %d", status)
	}
}
