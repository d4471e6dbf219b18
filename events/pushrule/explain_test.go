package pushrule

import (
	"slices"
	"strings"
	"testing"
)

func TestExplain(t *testing.T) {
	var rules Ruleset
	unmarshal(t, []byte(`{
		"override": [
			{"rule_id": ".m.rule.master", "default": true, "enabled": false},
			{"rule_id": "o1", "conditions": [
				{"kind": "event_match", "key": "content.body", "pattern": "pie"},
				{"kind": "event_match", "key": "content.none", "pattern": "*"},
				{"kind": "event_match", "key": "content.number", "pattern": "*"},
				{"kind": "event_match", "key": "type", "pattern": "m.room.member"},
				{"kind": "event_match", "key": "type", "pattern": "m.room.message"},
				{"kind": "event_match", "key": "content.body"},
				{"kind": "event_property_is", "key": "content.number", "value": 2},
				{"kind": "event_property_is", "key": "content.number", "value": 1.5},
				{"kind": "event_property_is", "value": 1},
				{"kind": "event_property_contains", "key": "content.number", "value": 1},
				{"kind": "event_property_contains", "key": "content.list", "value": "@me:x"},
				{"kind": "contains_display_name"},
				{"kind": "room_member_count", "is": ">7"},
				{"kind": "room_member_count", "is": "many"},
				{"kind": "sender_notification_permission", "key": "room"},
				{"kind": "org.matrix.msc4506.recipient_permission", "key": "kick"},
				{"kind": "io.element.msc4306.thread_subscription", "subscribed": true},
				{"kind": "im.nheko.msc3664.related_event_match", "rel_type": "m.thread"},
				{"kind": "org.example.new"}, {}, 5]},
			{"rule_id": ".m.rule.contains_display_name"}],
		"content": [
			{"rule_id": "c1"}, {"rule_id": "c2", "pattern": "pie"}, {"rule_id": "c3", "pattern": "cake"}],
		"room": [{"rule_id": "!b:x"}, {"rule_id": "!a:x", "enabled": false}],
		"sender": [{"rule_id": "@b:x"}, {"rule_id": "@a:x"}]}`), &rules)
	event := `{"type": "m.room.message", "room_id": "!a:x", "sender": "@a:x", "content":
		{"body": "a cake of SECRET", "number": 1, "list": ["SECRET"], "m.mentions": {}}}`
	const after = `content rule "c3" matched before`
	want := []Explanation{
		{".m.rule.master", KindOverride, false, false, []string{"disabled"}},
		{"o1", KindOverride, true, false, []string{
			`event_match content.body "pie": not found`,
			`event_match content.none "*": no such property`,
			`event_match content.number "*": not a string`,
			`event_match type "m.room.member": no match`,
			`event_match: missing pattern`,
			`event_property_is content.number 2: another value`,
			`event_property_is content.number 1.5: a parameter of the wrong type or value`,
			`event_property_is: missing key`,
			`event_property_contains content.number 1: not an array`,
			`event_property_contains content.list "@me:x": not in the array`,
			`contains_display_name: the user has no display name`,
			`room_member_count >7: the room has 2 members`,
			`room_member_count many: a parameter of the wrong type or value`,
			`sender_notification_permission room: the sender has power level 10 and needs 50`,
			`org.matrix.msc4506.recipient_permission kick: power levels unknown`,
			`io.element.msc4306.thread_subscription true: not in a thread, or subscriptions are not known`,
			`im.nheko.msc3664.related_event_match m.thread: no related event known`,
			`unknown condition kind "org.example.new"`,
			`condition without kind`,
			`condition is not an object`,
		}},
		{".m.rule.contains_display_name", KindOverride, true, false, []string{"event has m.mentions, which this rule is not for"}},
		{"c1", KindContent, true, false, []string{"missing pattern"}},
		{"c2", KindContent, true, false, []string{`pattern "pie": not found`}},
		{"c3", KindContent, true, true, nil},
		{"!b:x", KindRoom, false, false, []string{after, "another room"}},
		{"!a:x", KindRoom, false, false, []string{after, "disabled"}},
		{"@b:x", KindSender, false, false, []string{after, "another sender"}},
		{"@a:x", KindSender, false, false, []string{after}},
	}
	room := Room{MemberCount: 2, SenderLevel: 10}
	got := Explain(&rules, NewEvent([]byte(event), room), User{ID: "@me:x"})
	if len(got) != len(want) {
		t.Fatalf("%d explanations, want %d", len(got), len(want))
	}
	for i := range want {
		e, w := got[i], want[i]
		if e.RuleID != w.RuleID || e.Kind != w.Kind || e.Asked != w.Asked || e.Matched != w.Matched || !slices.Equal(e.Why, w.Why) {
			t.Errorf("explanation:\n got %+v\nwant %+v", e, w)
		}
		if strings.Contains(strings.Join(e.Why, ""), "SECRET") {
			t.Errorf("%q quotes the event", e.Why)
		}
	}
}

func TestExplainOwnEvent(t *testing.T) {
	rules := Ruleset{Override: []Rule{{ID: "all", Enabled: true}}}
	got := Explain(&rules, NewEvent([]byte(`{"sender":"@a:x"}`), Room{}), User{ID: "@a:x"})
	if len(got) != 1 || got[0].Asked || got[0].Matched || !slices.Equal(got[0].Why, []string{"own event"}) {
		t.Errorf("got %+v, want only that it is the user's own event", got)
	}
}
