package pushrule

import (
	"encoding/json"
	"reflect"
	"slices"
	"testing"
)

func ruleIDs(rules []Rule) []string {
	ids := []string{}
	for _, rule := range rules {
		ids = append(ids, rule.ID)
	}
	return ids
}

// offering returns what @a:x sees of the rules.
func offering(c *Changes, offers Offers) Ruleset {
	all := c.Ruleset("@a:x")
	return all.Offering(offers)
}

func TestNoChangesArePredefined(t *testing.T) {
	none := &Changes{}
	if got, want := offering(none, 0), Predefined("@a:x"); !reflect.DeepEqual(got, want) {
		t.Errorf("no changes make\n%+v\nwant %+v", got, want)
	}
	if !none.IsZero() {
		t.Error("the zero value is not zero")
	}
	for name, some := range map[string]Changes{
		"override":   {Override: []Rule{{}}},
		"content":    {Content: []Rule{{}}},
		"room":       {Room: []Rule{{}}},
		"sender":     {Sender: []Rule{{}}},
		"underride":  {Underride: []Rule{{}}},
		"predefined": {Predefined: map[string]Change{masterID: {}}},
	} {
		if some.IsZero() {
			t.Errorf("with a change of %s the value is zero", name)
		}
	}
}

func TestOwnRulesStandBeforePredefined(t *testing.T) {
	own := []Rule{{ID: "first", Enabled: true}, {ID: "second", Enabled: true}}
	changes := &Changes{Override: own, Content: own, Room: own, Sender: own, Underride: own}
	got, predefined := offering(changes, 0), Predefined("@a:x")
	before := func(rules []Rule) []string { return append([]string{"first", "second"}, ruleIDs(rules)...) }
	for name, pair := range map[string][2][]string{
		"override":  {ruleIDs(got.Override), append([]string{masterID}, before(predefined.Override[1:])...)},
		"content":   {ruleIDs(got.Content), before(predefined.Content)},
		"room":      {ruleIDs(got.Room), before(predefined.Room)},
		"sender":    {ruleIDs(got.Sender), before(predefined.Sender)},
		"underride": {ruleIDs(got.Underride), before(predefined.Underride)},
	} {
		if !slices.Equal(pair[0], pair[1]) {
			t.Errorf("%s:\n got %q\nwant %q", name, pair[0], pair[1])
		}
	}
}

func TestChangesOfPredefinedRules(t *testing.T) {
	changes := &Changes{Predefined: map[string]Change{
		masterID:                    {Enabled: new(true)},
		".m.rule.message":           {Actions: []Action{}},
		".m.rule.encrypted":         {Enabled: new(false), Actions: []Action{notify, highlight}},
		".m.rule.was_predefined":    {Enabled: new(false)},
		".m.rule.contains_user_id*": {Actions: []Action{notify}},
	}}
	want := Predefined("@a:x")
	want.Override[0].Enabled = true
	for i := range want.Underride {
		switch rule := &want.Underride[i]; rule.ID {
		case ".m.rule.message":
			rule.Actions = []Action{}
		case ".m.rule.encrypted":
			rule.Enabled, rule.Actions = false, []Action{notify, highlight}
		}
	}
	if got := offering(changes, 0); !reflect.DeepEqual(got, want) {
		t.Errorf("rules:\n got %+v\nwant %+v", got, want)
	}
}

// TestChangesSurviveJSON includes the difference between unchanged actions and an empty list of actions.
func TestChangesSurviveJSON(t *testing.T) {
	pattern := "cake"
	for text, want := range map[string]Changes{
		`{}`: {},
		`{"content":[{"rule_id":"c","default":false,"enabled":true,"pattern":"cake","actions":["notify"]}],` +
			`"predefined":{".m.rule.call":{"enabled":false},".m.rule.message":{"actions":[]}}}`: {
			Content: []Rule{{ID: "c", Enabled: true, Pattern: &pattern, Actions: []Action{notify}}},
			Predefined: map[string]Change{
				".m.rule.call":    {Enabled: new(false)},
				".m.rule.message": {Actions: []Action{}},
			},
		},
	} {
		if got := string(encode(t, want)); got != text {
			t.Errorf("changes:\n got %s\nwant %s", got, text)
		}
		var got Changes
		if err := json.Unmarshal([]byte(text), &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s was read as %+v (%v)", text, got, err)
		}
	}
}
