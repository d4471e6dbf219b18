package pushrule

import (
	"fmt"
	"testing"
)

func TestSame(t *testing.T) {
	for _, test := range []struct {
		name, event string
		want        string // rule id
		same        bool
	}{
		{"no mentions", `"type":"m.room.message","content":{"body":"x"}`, ".m.rule.message", true},
		{"mentions of nobody", `"type":"m.room.message","content":{"m.mentions":{"user_ids":[]}}`, ".m.rule.message", true},
		{"mentions of no id", `"type":"m.room.message","content":{"m.mentions":{"user_ids":[7,null]}}`, ".m.rule.message", true},
		{"mentions", `"type":"m.room.message","content":{"m.mentions":{"user_ids":["@b:x"]}}`, ".m.rule.message", false},
		{"invite", `"type":"m.room.member","state_key":"@b:x","content":{"membership":"invite"}`, ".m.rule.member_event", false},
		{"join", `"type":"m.room.member","state_key":"@b:x","content":{"membership":"join"}`, ".m.rule.member_event", true},
		{"notice", `"type":"m.room.message","content":{"msgtype":"m.notice","m.mentions":{"user_ids":["@b:x"]}}`, ".m.rule.suppress_notices", true},
		{"unknown", `"type":"org.example"`, "", true},
	} {
		ev := NewEvent([]byte(`{"sender":"@a:x",`+test.event+`}`), Room{MemberCount: 3})
		decision := Everyone().Decide(ev)
		o, same := decision.Same()
		if o == nil {
			o = &Outcome{}
		}
		if o.RuleID != test.want || same != test.same {
			t.Errorf("%s: rule %q for all: %t, want %q: %t", test.name, o.RuleID, same, test.want, test.same)
		}
		if got := decision.For(User{ID: "@a:x"}); got != nil {
			t.Errorf("%s: the sender gets %+v", test.name, got)
		}
	}
}

// TestManyOpenRules uses more open rules than a Decision lists; each matches for one name.
func TestManyOpenRules(t *testing.T) {
	for count := range 3 * mostOpen {
		var rules Ruleset
		for i := range count {
			rules.Override = append(rules.Override, Rule{ID: fmt.Sprint(i), Enabled: true, Conditions: []Condition{
				`{"kind":"contains_display_name"}`,
				Condition(fmt.Sprintf(`{"kind":"event_property_contains","key":"content.ids%d","value":"@me:x"}`, i)),
			}})
		}
		rules.Underride = []Rule{{ID: "rest", Enabled: true}}
		event := `{"content":{"body":"me"`
		for i := range count {
			event += fmt.Sprintf(`,"ids%d":["@%d:x"]`, i, i)
		}
		compiled, ev := Compile(&rules, "@me:x"), NewEvent([]byte(event+"}}"), Room{})
		decision := compiled.Decide(ev)
		for i := range count + 1 {
			want := fmt.Sprint(i)
			if i == count {
				want = "rest"
			}
			if got := decision.For(User{ID: fmt.Sprintf("@%d:x", i), DisplayName: "Me"}); got == nil || got.RuleID != want {
				t.Errorf("%d rules: user %d gets %+v, want rule %s", count, i, got, want)
			}
		}
	}
}

func TestDecideDoesNotAllocate(t *testing.T) {
	ev := NewEvent([]byte(messageEvent), Room{MemberCount: 100})
	user := User{ID: "@me:x", DisplayName: "Somebody"}
	if got := testing.AllocsPerRun(100, func() {
		decision := Everyone().Decide(ev)
		decision.For(user)
	}); got != 0 {
		t.Errorf("%v allocations", got)
	}
}
