package registry

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"poked/events/eventstest"
)

// sytestStep is one request of alice, and what its answer must be.
type sytestStep struct {
	method, path, body string
	status             int
	want               string // path=value in the answer, as gjson has paths; "" for nothing more
}

// sytestRow is one test of another server's suite, in our words.
type sytestRow struct {
	source  string // file of matrix-org/sytest, tests/61push
	name    string
	steps   []sytestStep
	differs string // why we answer otherwise, on purpose
}

const (
	addRules  = "02add_rules.pl"
	torture   = "80torture.pl"
	setAction = "05_set_actions.pl"
	setEnable = "07_set_enabled.pl"
)

// adds is the row that a rule of a kind can be added.
func adds(kind, id, body string) sytestRow {
	path := "/pushrules/global/" + kind + "/" + id
	return sytestRow{addRules, "add a rule of the kind " + kind, []sytestStep{
		{"PUT", path, body, 200, ""}, {"GET", path, "", 200, "enabled=true"},
		{"GET", path, "", 200, "rule_id=" + strings.ReplaceAll(id, "%23", "#")}, {"GET", path, "", 200, `actions=["notify"]`},
	}, ""}
}

// ordered is a row about the order of room rules.
func ordered(name string, order string, puts ...string) sytestRow {
	row := sytestRow{source: addRules, name: name}
	for _, put := range puts {
		row.steps = append(row.steps, sytestStep{"PUT", "/pushrules/global/room/" + put, `{"actions":["notify"]}`, 200, ""})
	}
	row.steps = append(row.steps, sytestStep{"GET", "/pushrules/", "", 200, "global.room.#.rule_id=" + order})
	return row
}

// sytestRules are Sytest's tests of push rules.
func sytestRules() []sytestRow {
	const match = `{"actions":["notify"],"conditions":[{"kind":"event_match","key":"content.msgtype","pattern":"m.notice"}]}`
	const room = "/pushrules/global/room/%23a:example.com"
	b := func(id string) string { return "%23" + id + ":example.com" }
	return []sytestRow{
		adds("room", "%23spam:example.com", `{"actions":["notify"]}`),
		adds("sender", "@bob:example.com", `{"actions":["notify"]}`),
		adds("content", "my_content_rule", `{"actions":["notify"],"pattern":"my_pattern"}`),
		adds("override", "my_override_rule", match),
		adds("underride", "my_underride_rule", match),
		ordered("a new rule comes first", `["#b:example.com","#a:example.com"]`, b("a"), b("b")),
		ordered("before another", `["#b:example.com","#a:example.com"]`, b("a"), b("b")+"?before="+b("a")),
		ordered("after another", `["#b:example.com","#a:example.com","#c:example.com"]`, b("a"), b("b"), b("c")+"?after="+b("a")),
		{addRules, "delete", []sytestStep{
			{"PUT", room, `{"actions":["notify"]}`, 200, ""}, {"DELETE", room, "", 200, ""},
			{"GET", "/pushrules/", "", 200, "global.room=[]"},
		}, ""},
		{setAction, "actions of a default rule", []sytestStep{
			{"PUT", "/pushrules/global/underride/.m.rule.message/actions", `{"actions":["dont_notify"]}`, 200, ""},
			{"GET", "/pushrules/global/underride/.m.rule.message/actions", "", 200, `actions=["dont_notify"]`},
		}, ""},
		{setAction, "actions of a default rule that does not exist", []sytestStep{
			{"PUT", "/pushrules/global/override/.not.a.default.rule/actions", `{"actions":["notify"]}`, 404, ""},
		}, ""},
		{setAction, "actions of a rule of the user", []sytestStep{
			{"PUT", "/pushrules/global/sender/@bob:example.com", `{"actions":["notify"]}`, 200, ""},
			{"PUT", "/pushrules/global/sender/@bob:example.com/actions", `{"actions":["dont_notify"]}`, 200, ""},
			{"GET", "/pushrules/global/sender/@bob:example.com/actions", "", 200, `actions=["dont_notify"]`},
		}, ""},
		{setAction, "actions of a rule that does not exist", []sytestStep{
			{"PUT", "/pushrules/global/sender/@bob:example.com/actions", `{"actions":["notify"]}`, 404, ""},
		}, ""},
		{setEnable, "enable and disable a default rule", []sytestStep{
			{"PUT", "/pushrules/global/override/.m.rule.master/enabled", `{"enabled":true}`, 200, ""},
			{"GET", "/pushrules/global/override/.m.rule.master/enabled", "", 200, "enabled=true"},
			{"PUT", "/pushrules/global/override/.m.rule.master/enabled", `{"enabled":false}`, 200, ""},
			{"GET", "/pushrules/global/override/.m.rule.master/enabled", "", 200, "enabled=false"},
		}, ""},
		{setEnable, "enable a default rule that does not exist", []sytestStep{
			{"PUT", "/pushrules/global/override/.not.a.default.rule/enabled", `{"enabled":true}`, 404, ""},
		}, ""},
		{"04_default_rules.pl", "the default rules", []sytestStep{
			{"GET", "/pushrules/", "", 200, "global.override.0.rule_id=.m.rule.master"},
			{"GET", "/pushrules/", "", 200, "global.override.1.rule_id=.m.rule.suppress_notices"},
			{"GET", "/pushrules/", "", 200, "global.underride.0.rule_id=.m.rule.call"},
			{"GET", "/pushrules/", "", 200, "global.override.0.actions=[]"},
		}, "Sytest's list is that of 2016. Ours is that of Matrix 1.19, with mentions, tombstones and reactions, and [] in place of the removed dont_notify"},
	}
}

// sytestRefusals are the requests that Sytest's torture test wants refused.
func sytestRefusals() (rows []sytestRow) {
	put := func(name, path, body string) {
		rows = append(rows, sytestRow{torture, "PUT with " + name, []sytestStep{{"PUT", "/pushrules" + path, body, 400, ""}}, ""})
	}
	get := func(name, path string, status int, differs string) {
		rows = append(rows, sytestRow{torture, "GET with " + name, []sytestStep{{"GET", "/pushrules" + path, "", status, ""}}, differs})
	}
	rows = append(rows, sytestRow{torture, "PUT with no scope", []sytestStep{{"PUT", "/pushrules/", `{}`, 405, ""}},
		"Sytest wants 400; the path exists, without PUT, and that is M_UNRECOGNIZED with 405 since Matrix 1.4"})
	put("an unknown scope", "/not_a_scope/room/%23spam:example.com", `{}`)
	put("no kind", "/global", `{}`)
	put("no rule id", "/global/room", `{}`)
	put("an empty rule id", "/global/room/", `{}`)
	put("an unknown kind", "/global/not_a_template/foo", `{}`)
	put("a backslash in the rule id", `/global/room/%23fo%5Co:example.com`, `{}`)
	put("an override rule without conditions", "/global/override/my_id", `{}`)
	put("an underride rule without conditions", "/global/underride/my_id", `{}`)
	put("a condition without a kind", "/global/underride/my_id", `{"conditions":[{}]}`)
	put("a content rule without a pattern", "/global/content/my_id", `{}`)
	put("no actions", "/global/room/%23my_room:example.com", `{}`)
	put("an unknown action", "/global/room/%23my_room:example.com", `{"actions":["not_an_action"]}`)
	put("an unknown attribute", "/global/override/.m.rule.master/not_an_attr", `{"enabled":true}`)
	put("a string for enabled", "/global/override/.m.rule.master/enabled", `{"enabled":"not a boolean"}`)
	const noSlash = "Sytest wants 400; a path that the specification does not have is M_UNRECOGNIZED with 404 since Matrix 1.4"
	get("no trailing slash", "", 404, noSlash)
	get("a scope without its slash", "/global", 400, "")
	get("a kind without its slash", "/global/room", 400, "")
	get("an unknown scope", "/not_a_scope/", 400, "")
	get("an unknown kind", "/global/not_a_template/", 400, "")
	get("an unknown attribute", "/global/override/.m.rule.master/not_an_attr", 400, "")
	get("an unknown rule id", "/global/override/not_a_rule_id", 404, "")
	return rows
}

// sytestPushers are Sytest's tests of pushers, and those of tuwunel that are about setting one
// (matrix-construct/tuwunel, src/main/tests/pusher_notify.rs).
func sytestPushers() []sytestRow {
	set := func(url string) string {
		return `{"profile_tag":"tag","kind":"http","app_id":"sytest","app_display_name":"SyTest","device_display_name":"A testing machine",` +
			`"pushkey":"This is my pushkey","lang":"en","data":{"testcustom":"custom","url":"` + url + `","format":"id_event_only"}}`
	}
	const gateway, notify = "https://gateway.example.org", "/_matrix/push/v1/notify"
	row := func(source, name, url string, status int, differs string) sytestRow {
		return sytestRow{source, name, []sytestStep{{"POST", "/pushers/set", set(url), status, ""}}, differs}
	}
	all := sytestRow{source: "06_get_pusher.pl", name: "a pusher is shown as it was set", steps: []sytestStep{
		{"POST", "/pushers/set", set(gateway + notify), 200, ""},
	}}
	for _, want := range []string{
		"profile_tag=tag", "kind=http", "app_id=sytest", "app_display_name=SyTest", "device_display_name=A testing machine", "lang=en",
		"pushkey=This is my pushkey", "data.testcustom=custom", "data.url=" + gateway + notify, "data.format=id_event_only",
	} {
		all.steps = append(all.steps, sytestStep{"GET", "/pushers", "", 200, "pushers.0." + want})
	}
	const tuwunel = "tuwunel pusher_notify.rs"
	const onlyThisPath = "tuwunel appends or trims the path; the specification wants exactly /_matrix/push/v1/notify, and a pusher that cannot work is refused at once"
	return []sytestRow{
		all,
		row(tuwunel, "a URL that is not HTTP", "ftp://127.0.0.1/notify", 400, ""),
		row(tuwunel, "a path after that of the API", gateway+notify+"/gw", 400, onlyThisPath),
		row(tuwunel, "a path before that of the API", gateway+"/gw"+notify, 400, onlyThisPath),
		row(tuwunel, "a slash after the path", gateway+notify+"/", 400, onlyThisPath),
	}
}

// What Sytest (tests/61push) and tuwunel demand of the client API, a row for each of their
// tests. Where we differ on purpose the row says why.
func TestPeersOfTheClientAPI(t *testing.T) {
	eventstest.Long(t)
	h := newHouse(t)
	token := 0
	for _, row := range append(append(sytestRules(), sytestRefusals()...), sytestPushers()...) {
		token++
		user := fmt.Sprintf("@peer%d:example.org", token)
		writeFile(t, h.cfg.Tokens, tokens+fmt.Sprintf("peer%d %s\n", token, user))
		if err := h.reg.RereadTokens(); err != nil {
			t.Fatal(err)
		}
		for _, step := range row.steps {
			status, _, answer := h.request(step.method, prefixV3+step.path, fmt.Sprintf("peer%d", token), step.body)
			name := row.source + ": " + row.name
			if row.differs != "" {
				name += " (" + row.differs + ")"
			}
			if status != step.status {
				t.Errorf("%s: %s %s: %d %s, want %d", name, step.method, step.path, status, answer, step.status)
			}
			if path, want, ok := strings.Cut(step.want, "="); ok && gjson.GetBytes(answer, path).String() != want {
				t.Errorf("%s: %s is %s, want %s", name, path, gjson.GetBytes(answer, path), want)
			}
		}
	}
}

// Sytest, 09_notifications_api.pl: a notification is listed with its parts until it is read.
func TestPeersOfNotifications(t *testing.T) {
	h := newHouse(t)
	h.notify(alice, "$2", h.publish(messageEvent("$2")))
	_, _, answer := h.request(http.MethodGet, prefixV3+"/notifications", "alice-phone", "")
	for _, key := range []string{"room_id", "actions", "event", "read", "ts"} {
		if !gjson.GetBytes(answer, "notifications.0."+key).Exists() {
			t.Errorf("no %s in %s", key, answer)
		}
	}
	if gjson.GetBytes(answer, "notifications.0.read").Bool() {
		t.Error("it is read")
	}
	// Sytest wants profile_tag in any case; the specification requires it of nobody, and this
	// user has no instance handle.
	if gjson.GetBytes(answer, "notifications.0.profile_tag").String() != "" {
		t.Error("it has a profile_tag")
	}
	h.owners.read(alice)
	if _, _, answer = h.request(http.MethodGet, prefixV3+"/notifications", "alice-phone", ""); gjson.GetBytes(answer, "notifications.#").Int() != 0 {
		t.Errorf("after it was read: %s", answer)
	}
}
