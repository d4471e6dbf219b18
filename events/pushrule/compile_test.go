package pushrule

import (
	"slices"
	"testing"
)

func TestOrder(t *testing.T) {
	yes, pattern := []Condition{}, "*"
	rules := Ruleset{
		Override: []Rule{
			{ID: ".m.rule.predefined", Default: true, Enabled: true, Conditions: yes},
			{ID: "first", Enabled: true, Conditions: yes},
			{ID: "disabled", Conditions: yes},
			{ID: "second", Enabled: true, Conditions: yes},
			{ID: ".m.rule.master", Default: true, Enabled: true, Conditions: yes},
			{ID: "never", Enabled: true, Conditions: []Condition{`{"kind":"unknown"}`}},
		},
		Content:   []Rule{{ID: "no pattern", Enabled: true}, {ID: "content", Enabled: true, Pattern: &pattern}},
		Room:      []Rule{{ID: "!a:x", Enabled: true}},
		Sender:    []Rule{{ID: "@a:x", Enabled: true}},
		Underride: []Rule{{ID: "underride", Enabled: true}},
	}
	want := []string{".m.rule.master", "first", "second", ".m.rule.predefined", "content", "!a:x", "@a:x", "underride"}
	event := []byte(`{"room_id":"!a:x","sender":"@a:x","content":{"body":""}}`)
	compiled := Compile(&rules, "")
	var got []string
	for len(compiled.rules) > 0 { // the first rule matches and is then removed
		outcome := compiled.Evaluate(NewEvent(event, Room{}), User{ID: "@b:x"})
		if outcome == nil {
			break
		}
		got = append(got, outcome.RuleID)
		compiled.rules = compiled.rules[1:]
	}
	if !slices.Equal(got, want) {
		t.Errorf("order:\n got %q\nwant %q", got, want)
	}
}

func TestOwnEventsNeverNotify(t *testing.T) {
	rules := Ruleset{Override: []Rule{{ID: "all", Enabled: true, Actions: []Action{notify}}}}
	compiled := Compile(&rules, "@a:x")
	event := []byte(`{"type":"m.room.message","sender":"@a:x","content":{}}`)
	if got := compiled.Evaluate(NewEvent(event, Room{}), User{ID: "@a:x"}); got.Notifies() {
		t.Errorf("the sender is notified: %+v", got)
	}
	if got := compiled.Evaluate(NewEvent(event, Room{}), User{ID: "@b:x"}); !got.Notifies() {
		t.Errorf("another user is not notified: %+v", got)
	}
}

// TestEveryoneIsEachUser compares the shared predefined rules with those compiled for a single user, on the events of
// the test vectors.
func TestEveryoneIsEachUser(t *testing.T) {
	for _, v := range readVectors(t).Vectors {
		if v.Suite != "default_ruleset" {
			continue
		}
		q := question(t, v)
		shared, own := Everyone().Evaluate(q.Event, q.User), evaluate(q)
		if (shared == nil) != (own == nil) || shared != nil && shared.RuleID != own.RuleID {
			t.Errorf("%s: everyone gets %+v, the user alone %+v", v.ID, shared, own)
		}
	}
}

// TestPredefinedRulesAreShared compares outcomes by address: a rule that a user has changed must not be Everyone's.
func TestPredefinedRulesAreShared(t *testing.T) {
	changes := &Changes{Predefined: map[string]Change{".m.rule.message": {Actions: []Action{}}}}
	rules := changes.rulesetOf("@me:x")
	for i := range rules.Override {
		if rules.Override[i].ID == ".m.rule.is_user_mention" {
			rules.Override[i].Conditions = Predefined("@you:x").Override[i].Conditions
		}
	}
	shared := map[string]*Outcome{}
	for _, r := range Everyone().rules {
		shared[r.outcome.RuleID] = r.outcome
	}
	for _, r := range Compile(rules, "@me:x").rules {
		id := r.outcome.RuleID
		if changed := id == ".m.rule.message" || id == ".m.rule.is_user_mention"; (r.outcome == shared[id]) == changed {
			t.Errorf("%s: changed %t, shared %t", id, changed, !changed)
		}
	}
}

func TestEveryoneFitsAnEventsMemory(t *testing.T) {
	if got := len(Everyone().slots); got == 0 || got > maxSlots {
		t.Errorf("the predefined rules have %d conditions to remember, an event has room for %d", got, maxSlots)
	}
}
