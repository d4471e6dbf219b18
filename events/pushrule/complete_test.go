package pushrule

import (
	"reflect"
	"slices"
	"testing"
)

// without returns the rules but for those with these ids.
func without(rules []Rule, ids ...string) []Rule {
	return slices.DeleteFunc(slices.Clone(rules), func(r Rule) bool { return slices.Contains(ids, r.ID) })
}

func TestPublishedRulesAreCompleted(t *testing.T) {
	rule := func(id string) Rule { return Rule{ID: id, Default: id[0] == '.', Enabled: true} }
	list := func(ids ...string) (rules []Rule) {
		for _, id := range ids {
			rules = append(rules, rule(id))
		}
		return rules
	}
	all := Predefined("@a:x")
	for name, tc := range map[string]struct{ rules, want []Rule }{
		"nothing": {nil, all.Override},
		"all":     {all.Override, all.Override},
		// The order of Dendrite 0.13, with a rule of the user's.
		"an older homeserver": {
			list(".m.rule.master", "own", ".m.rule.suppress_notices", ".m.rule.invite_for_me", ".m.rule.member_event",
				".m.rule.contains_display_name", ".m.rule.tombstone", ".m.rule.roomnotif", ".m.rule.reaction", ".m.rule.room.server_acl"),
			list(".m.rule.master", "own", ".m.rule.suppress_notices", ".m.rule.invite_for_me", ".m.rule.member_event",
				".m.rule.is_user_mention", ".m.rule.contains_display_name", ".m.rule.is_room_mention", ".m.rule.tombstone", ".m.rule.roomnotif",
				".m.rule.reaction", ".m.rule.room.server_acl", ".m.rule.suppress_edits"),
		},
		"rules of proposals": {
			append(without(all.Override, ".m.rule.room.server_acl", ".m.rule.suppress_edits"),
				list(".org.matrix.msc3786.rule.room.server_acl", ".org.matrix.msc3958.suppress_edits", ".org.example.newer")...),
			append(without(all.Override, ".m.rule.room.server_acl", ".m.rule.suppress_edits"),
				list(".org.matrix.msc3786.rule.room.server_acl", ".org.matrix.msc3958.suppress_edits", ".org.example.newer")...),
		},
		"the user's rules only": {
			list("own", "other"),
			append(list("own", "other"), all.Override...),
		},
		"the order of the homeserver": {
			list(".m.rule.suppress_edits", ".m.rule.master"),
			slices.Concat(without(all.Override, ".m.rule.master", ".m.rule.suppress_edits"), list(".m.rule.suppress_edits", ".m.rule.master")),
		},
	} {
		published := Ruleset{Override: tc.rules}
		before := slices.Clone(tc.rules)
		got := published.Completed("@a:x")
		if !slices.Equal(ruleIDs(got.Override), ruleIDs(tc.want)) {
			t.Errorf("%s:\n got %q\nwant %q", name, ruleIDs(got.Override), ruleIDs(tc.want))
		}
		if !slices.Equal(ruleIDs(got.Underride), ruleIDs(all.Underride)) {
			t.Errorf("%s: underride %q", name, ruleIDs(got.Underride))
		}
		if !reflect.DeepEqual(published.Override, before) {
			t.Errorf("%s: the published rules were changed", name)
		}
	}
}

// What the user or the homeserver has made of a predefined rule stays.
func TestCompletedRulesKeepWhatIsThere(t *testing.T) {
	pattern := "a"
	published := Ruleset{
		Override: []Rule{{ID: ".m.rule.is_user_mention", Default: true, Actions: []Action{notify}}},
		Content:  []Rule{{ID: ".m.rule.contains_user_name", Default: true, Enabled: true, Pattern: &pattern}},
		Room:     []Rule{{ID: "!r:x", Enabled: true}},
	}
	got := published.Completed("@a:x")
	if !slices.ContainsFunc(got.Override, func(r Rule) bool { return reflect.DeepEqual(r, published.Override[0]) }) || len(got.Override) != len(Predefined("").Override) {
		t.Errorf("override: %+v", got.Override)
	}
	if !reflect.DeepEqual(got.Content, published.Content) || !reflect.DeepEqual(got.Room, published.Room) {
		t.Errorf("content %+v, room %+v", got.Content, got.Room)
	}
	if whole := Predefined("@a:x"); !reflect.DeepEqual(whole.Completed("@a:x"), Predefined("@a:x")) {
		t.Error("the predefined rules are completed with something")
	}
}

// Intentional mentions and edits decide for users of a homeserver that has only the rules of Matrix v1.6.
func TestMentionsWithRulesOfAnOlderHomeserver(t *testing.T) {
	const user = "@bob:x"
	var published Ruleset
	unmarshal(t, []byte(`{"override":[
		{"rule_id":".m.rule.master","default":true,"enabled":false,"conditions":[],"actions":["dont_notify"]},
		{"rule_id":"only mentions","default":false,"enabled":true,"conditions":[{"kind":"event_match","key":"room_id","pattern":"!loud:x"}],"actions":[]},
		{"rule_id":".m.rule.contains_display_name","default":true,"enabled":true,"conditions":[{"kind":"contains_display_name"}],
			"actions":["notify",{"set_tweak":"highlight"}]}],
		"room":[{"rule_id":"!quiet:x","default":false,"enabled":true,"actions":[]}],
		"underride":[{"rule_id":".m.rule.message","default":true,"enabled":true,
			"conditions":[{"kind":"event_match","key":"type","pattern":"m.room.message"}],"actions":["notify"]}]}`), &published)
	rules := published.Completed(user)
	compiled := Compile(&rules, user)
	levels := Room{MemberCount: 3, SenderLevel: 100, NotificationLevels: map[string]int64{"room": 50}}
	for _, tc := range []struct {
		content, room string
		want          string
	}{
		{`{"msgtype":"m.text","body":"bob","m.mentions":{"user_ids":["@bob:x"]}}`, "!a:x", ".m.rule.is_user_mention"},
		{`{"msgtype":"m.text","body":"x","m.mentions":{"user_ids":["@bob:x"]}}`, "!quiet:x", ".m.rule.is_user_mention"},
		{`{"msgtype":"m.text","body":"x","m.mentions":{"room":true}}`, "!quiet:x", ".m.rule.is_room_mention"},
		{`{"msgtype":"m.text","body":"x","m.mentions":{"user_ids":["@bob:x"]}}`, "!loud:x", "only mentions"},
		{`{"msgtype":"m.text","body":"Bob","m.mentions":{}}`, "!a:x", ".m.rule.message"},
		{`{"msgtype":"m.text","body":"Bob"}`, "!a:x", ".m.rule.contains_display_name"},
		{`{"msgtype":"m.text","body":"x","m.relates_to":{"rel_type":"m.replace","event_id":"$1"}}`, "!a:x", ".m.rule.suppress_edits"},
	} {
		ev := NewEvent([]byte(`{"type":"m.room.message","sender":"@a:x","room_id":"`+tc.room+`","content":`+tc.content+`}`), levels)
		outcome := compiled.Evaluate(ev, User{ID: user, DisplayName: "Bob"})
		if outcome == nil || outcome.RuleID != tc.want {
			t.Errorf("%s in %s: %+v, want %s", tc.content, tc.room, outcome, tc.want)
		}
	}
}

// Rules of MSC4306 are asked between content and room.
func TestPostContent(t *testing.T) {
	subscribed := Condition(`{"kind":"io.element.msc4306.thread_subscription","subscribed":true}`)
	word := "cake"
	rules := Ruleset{
		Content:     []Rule{{ID: "word", Enabled: true, Pattern: &word, Actions: []Action{notify}}},
		PostContent: []Rule{{ID: ".io.element.msc4306.rule.subscribed_thread", Default: true, Enabled: true, Conditions: []Condition{subscribed}, Actions: []Action{notify}}},
		Room:        []Rule{{ID: "!r:x", Enabled: true}},
	}
	for _, tc := range []struct {
		body   string
		thread bool
		want   string
	}{
		{"cake", true, "word"},
		{"tea", true, ".io.element.msc4306.rule.subscribed_thread"},
		{"tea", false, "!r:x"},
	} {
		ev := NewEvent([]byte(`{"type":"m.room.message","sender":"@a:x","room_id":"!r:x","content":{"body":"`+tc.body+`"}}`), Room{})
		ev.InThread(func(string) bool { return tc.thread })
		if got := NewCache().Compile(&rules, "@b:x").Evaluate(ev, User{ID: "@b:x"}); got == nil || got.RuleID != tc.want {
			t.Errorf("%s: %+v, want %s", tc.body, got, tc.want)
		}
	}
}
