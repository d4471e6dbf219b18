package registry

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"poked/events/eventstest"
	"poked/events/pushrule"
	"poked/registry/request"
	"poked/registry/store"
)

// TestDeviceRules checks that the rules of a device exist beside the global ones and
// are separate from them.
func TestDeviceRules(t *testing.T) {
	h := newHouse(t)
	h.put("global/room/a", firstRule)
	empty := encode(t, pushrule.Ruleset{})
	if got := h.get("device/none/"); got != empty {
		t.Errorf("a device without rules: %s", got)
	}
	if got := h.get(""); strings.Contains(got, "device") {
		t.Errorf("without rules of devices: %s", got)
	}
	handle := "%C3%A4" + strings.Repeat("x", 30) + "%2F" // 32 characters, including a slash
	h.put("device/"+handle+"/room/a", secondRule)
	h.put("device/other/room/a", firstRule)
	if got := h.get("device/" + handle + "/room/a/actions"); !sameJSON(t, []byte(got), []byte(secondRule)) {
		t.Errorf("the rule has %s", got)
	}
	if got := h.get("global/room/a/actions"); got != firstRule {
		t.Errorf("the global rule has %s", got)
	}
	device := `{"override":[],"content":[],"room":[{"rule_id":"a","default":false,"enabled":true,"actions":["notify"]}],"sender":[],"underride":[]}`
	if got := h.get("device/other/"); got != device {
		t.Errorf("a device: %s", got)
	}
	all := h.get("")
	if !strings.Contains(all, `"device":{`) || !strings.Contains(all, `"other":`+device) || !strings.Contains(all, `"ä`+strings.Repeat("x", 30)+`/":`) {
		t.Errorf("all: %s", all)
	}
	if _, _, answer := h.request("GET", prefixV3+"/pushrules/", "alice-phone", ""); strings.Contains(string(answer), `"device"`) {
		t.Errorf("the current prefix shows devices: %s", answer)
	}
}

// TestCopyDeviceRules copies a device's rules: all of them, in order.
func TestCopyDeviceRules(t *testing.T) {
	eventstest.Long(t)
	h := newHouse(t)
	h.run()
	for _, id := range []string{"a", "b", "c"} {
		h.put("device/old/room/"+id, firstRule)
	}
	h.put("device/old/room/a?before=b", secondRule)
	h.put("device/old/room/b/enabled", `{"enabled":false}`)
	h.put("device/old/content/x", `{"pattern":"x","actions":[]}`)
	h.put("device/else/room/x", firstRule)
	copied := func(from, body string, status int, errcode string) {
		t.Helper()
		if got, e := h.rule("POST", "device/"+from+"/copy", body); got != status || e.Errcode != errcode {
			t.Errorf("copy of %s to %s: %d %+v, want %d %s", from, body, got, e, status, errcode)
		}
	}
	copied("old", `{"instance_handle":"new"}`, 200, "")
	if was, is := h.get("device/old/"), h.get("device/new/"); was != is {
		t.Errorf("copied %s, got %s", was, is)
	}
	version := h.inDatabase(store.InPushRules)[alice].Version
	copied("old", `{"instance_handle":"new"}`, 200, "") // the rules were copied before
	copied("none", `{"instance_handle":"new"}`, 404, "M_NOT_FOUND")
	copied("old", `{"instance_handle":"else"}`, 400, "M_INVALID_PARAM")
	copied("old", `{"instance_handle":""}`, 400, "M_INVALID_PARAM")
	copied("old", `{"instance_handle":"`+strings.Repeat("x", 33)+`"}`, 400, "M_INVALID_PARAM")
	copied("old", `{}`, 400, "M_MISSING_PARAM")
	copied("old", `{"instance_handle":7}`, 400, "M_BAD_JSON")
	if v := h.inDatabase(store.InPushRules)[alice].Version; v != version {
		t.Errorf("version %d after %d", v, version)
	}
	h.put("device/new/room/d", firstRule)
	if got := strings.Join(h.ruleIDs("device/old/", "room"), " "); got != "c a b" {
		t.Errorf("the old device has %s", got)
	}
	copied("old", `{"instance_handle":"new"}`, 400, "M_INVALID_PARAM")
	h.waitSettled()
}

// TestRuleLimits reaches each limit, and exceeds it by one.
func TestRuleLimits(t *testing.T) {
	eventstest.Long(t)
	h := newHouse(t)
	refused := func(path, body string, status int, errcode, says string) {
		t.Helper()
		before := h.inDatabase(store.InPushRules)[alice]
		got, e := h.rule("PUT", path, body)
		if got != status || e.Errcode != errcode || !strings.Contains(e.Error, says) {
			t.Errorf("%s: %d %+v, want %d %s about %s", path, got, e, status, errcode, says)
		}
		if after := h.inDatabase(store.InPushRules)[alice]; encode(t, after) != encode(t, before) {
			t.Errorf("%s: refused, and yet something changed", path)
		}
	}
	rule := func(size int, id string) string {
		text := func(n int) string { return `{"actions":[],"pattern":"` + strings.Repeat("x", n) + `"}` }
		bare := len(`{"rule_id":"` + id + `","default":false,"enabled":true,"pattern":"","actions":[]}`)
		return text(size - bare)
	}
	h.put("global/room/"+strings.Repeat("x", request.MaxRuleIDBytes), firstRule)
	h.put("global/content/c", rule(store.MaxRuleBytes, "c"))
	refused("global/content/d", rule(store.MaxRuleBytes+1, "d"), 413, "M_TOO_LARGE", "4096")
	refused("global/content/c/actions", secondRule, 413, "M_TOO_LARGE", "4096")
	large := `{"actions":[{"set_tweak":"sound","value":"` + strings.Repeat("<", store.MaxRuleBytes/6) + `"}]}`
	refused("global/override/.m.rule.master/actions", large, 413, "M_TOO_LARGE", "4096")
	refused("global/room/d", large, 413, "M_TOO_LARGE", "4096")

	for i := range store.MaxRuleDevices {
		h.put(fmt.Sprintf("device/%d/room/a", i), firstRule)
	}
	refused("device/more/room/a", firstRule, 400, "M_INVALID_PARAM", "50 devices")
	if status, e := h.rule(http.MethodPost, "device/0/copy", `{"instance_handle":"more"}`); status != 400 || !strings.Contains(e.Error, "50 devices") {
		t.Errorf("copy to a device above the limit: %d %+v", status, e)
	}
	h.exec(fmt.Sprintf(`INSERT INTO push_rules (user_id, scope, kind, rule_id, position, enabled, actions, bytes)
		WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
		SELECT user_id, '', kind, CAST(i AS TEXT), -i, enabled, actions, bytes FROM push_rules, n WHERE scope = '0'`, store.MaxRules-h.count("push_rules")))
	refused("global/room/more", firstRule, 400, "M_INVALID_PARAM", "1000 push rules")
	h.put("global/content/c", rule(store.MaxRuleBytes-1, "c")) // changing one does not count as another

	h.exec("DELETE FROM push_rules WHERE kind = 'room'")
	h.exec(fmt.Sprintf("UPDATE push_rules SET bytes = %d", store.MaxRulesBytes-store.MaxRuleBytes))
	h.put("global/content/x", rule(store.MaxRuleBytes, "x"))
	refused("global/room/y", firstRule, 413, "M_TOO_LARGE", "393216")
	refused("global/override/.m.rule.master/actions", firstRule, 413, "M_TOO_LARGE", "393216")
}

// TestLargestRulesFitNATS sets as many and as large rules as the limits allow.
func TestLargestRulesFitNATS(t *testing.T) {
	eventstest.Long(t)
	h := newHouse(t)
	h.run()
	name := strings.Repeat("<", 200)
	for i := 0; ; i++ {
		status, e := h.rule("PUT", fmt.Sprintf("device/%s%02d/override/%d", strings.Repeat("%3C", 30), i%50, i),
			`{"actions":["notify"],"conditions":[{"kind":"`+name+`","x":"`+strings.Repeat("x", 1000)+`"}]}`)
		if status == http.StatusOK {
			continue
		}
		if e.Errcode != "M_TOO_LARGE" || i < 100 {
			t.Fatalf("rule %d: %d %+v", i, status, e)
		}
		break
	}
	rule := `{"rule_id":"` + name + `","actions":[]}`
	size := len(`{"rule_id":"","default":false,"enabled":true,"actions":[]},`) + 6*len(name)
	h.accounts().rules(`{"global":{"room":[` + strings.Repeat(rule+",", (maxPublishedBytes-1000)/size-1) + rule + `]}}`)
	ignored := map[string]any{}
	for i := range (maxIgnoredBytes - 3) / (6*200 + 10 + 5) {
		ignored["@"+name+":"+fmt.Sprintf("%08d", i)] = keys{}
	}
	h.accounts().ignored(encode(t, keys{"ignored_users": ignored}))
	h.waitFor("all of it", func() bool {
		rules := h.rulesOfAlice()
		return rules.Published != nil && len(rules.IgnoredUsers) == len(ignored)
	})
	h.waitSettled()
	if n := len(encode(t, h.rulesOfAlice())); n < 900<<10 {
		t.Errorf("only %d bytes were published", n)
	}
}
