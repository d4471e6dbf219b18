package pushrule

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
	"unicode/utf8"
)

func TestRulesetKeepsWhatItDoesNotKnow(t *testing.T) {
	const text = `{"override":[{"rule_id":"o","default":false,"enabled":true,` +
		`"conditions":[{"kind":"org.example.new","x":[1,2]},5],"actions":["notify",{"org.example":1}]}],` +
		`"content":[{"rule_id":"c","default":false,"enabled":false,"pattern":"","actions":[]}],` +
		`"postcontent":[{"rule_id":".io.element.msc4306.rule.subscribed_thread","default":true,"enabled":true,` +
		`"conditions":[{"kind":"io.element.msc4306.thread_subscription","subscribed":true}],"actions":["notify"]}],` +
		`"room":[],"sender":[],"underride":[],"org.example.kind":[{"rule_id":"x","odd":[1]}],"so \"on\"":null}`
	var rules Ruleset
	unmarshal(t, []byte(text), &rules)
	if got := string(encode(t, rules)); got != text {
		t.Errorf("ruleset:\n got %s\nwant %s", got, text)
	}
}

func TestRulesetOddities(t *testing.T) {
	for text, want := range map[string]string{
		`{}`:                           `{"override":[],"content":[],"room":[],"sender":[],"underride":[]}`,
		`{"override":5,"odd":[1]}`:     `{"override":[],"content":[],"room":[],"sender":[],"underride":[],"odd":[1]}`,
		`{"postcontent":5}`:            `{"override":[],"content":[],"room":[],"sender":[],"underride":[]}`,
		`{"room":[1,null,[],"x",{}]}`:  `{"override":[],"content":[],"room":[{"rule_id":"","default":false,"enabled":true,"actions":[]}],"sender":[],"underride":[]}`,
		`{"sender":[{"enabled":"x"}]}`: `{"override":[],"content":[],"room":[],"sender":[{"rule_id":"","default":false,"enabled":false,"actions":[]}],"underride":[]}`,
	} {
		var rules Ruleset
		unmarshal(t, []byte(text), &rules)
		if got := string(encode(t, rules)); got != want {
			t.Errorf("%s:\n got %s\nwant %s", text, got, want)
		}
	}
	var rules Ruleset
	if err := rules.UnmarshalJSON([]byte(`[]`)); err == nil {
		t.Error("an array was read as a ruleset")
	}
	var rule Rule
	if err := rule.UnmarshalJSON([]byte(`"x"`)); err == nil {
		t.Error("a string was read as a rule")
	}
}

func TestOddConditionsNeverMatch(t *testing.T) {
	for conditions, want := range map[string]bool{`null`: true, `[]`: true, `5`: false, `{}`: false, `[null]`: false,
		`{"kind":"room_member_count","is":"0"}`: false} {
		var rules Ruleset
		unmarshal(t, []byte(`{"override":[{"rule_id":"o","conditions":`+conditions+`}]}`), &rules)
		if got := Compile(&rules, "").Evaluate(NewEvent([]byte(`{}`), Room{}), User{ID: "@a:x"}) != nil; got != want {
			t.Errorf("conditions %s: got %t, want %t", conditions, got, want)
		}
	}
}

func TestPredefinedSurvivesJSON(t *testing.T) {
	want := Predefined(`@odd"one\:x`)
	var got Ruleset
	unmarshal(t, encode(t, want), &got)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("predefined rules:\n got %+v\nwant %+v", got, want)
	}
}

// FuzzRuleset checks that no ruleset and no event makes evaluation panic, and that a ruleset survives being written
// and parsed again.
func FuzzRuleset(f *testing.F) {
	for _, v := range readVectors(f).Vectors {
		if v.Ruleset != nil {
			f.Add([]byte(v.Ruleset), []byte(v.Event))
		}
	}
	predefined := Predefined("@a:x")
	f.Add(encode(f, predefined), []byte(`{"content":{"body":"x","m.mentions":{"user_ids":["@a:x"]}}}`))
	f.Fuzz(func(t *testing.T, ruleset, event []byte) {
		var rules, again Ruleset
		if rules.UnmarshalJSON(ruleset) != nil {
			return
		}
		ev, user := NewEvent(event, Room{}), User{ID: "@a:x", DisplayName: "a b"}
		got, decision := Compile(&rules, user.ID).Evaluate(ev, user), NewCache().Compile(&rules, user.ID).Decide(ev)
		if other := decision.For(user); (got == nil) != (other == nil) || got != nil && !reflect.DeepEqual(got, other) {
			t.Errorf("evaluated %+v, decided %+v", got, other)
		}
		checkExplained(t, Explain(&rules, ev, user), got)
		if !json.Valid(ruleset) || !utf8.Valid(ruleset) {
			return
		}
		first := encode(t, rules)
		unmarshal(t, first, &again)
		if second := encode(t, again); !bytes.Equal(second, first) {
			t.Errorf("ruleset:\nfirst  %s\nsecond %s", first, second)
		}
	})
}
