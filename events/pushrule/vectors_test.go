package pushrule

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"testing"
)

const vectorsFile = "../../testdata/pushrules.json"

// vector is one entry of testdata/pushrules.json, whose meta.fields describe the members.
type vector struct {
	ID      string          `json:"id"`
	Suite   string          `json:"suite"`
	Adopt   bool            `json:"adopt"`
	Ruleset json.RawMessage `json:"ruleset"`
	Event   json.RawMessage `json:"event"`
	Path    string          `json:"path"`
	Input   json.RawMessage `json:"input"`
	Actions json.RawMessage `json:"actions"`
	Expect  json.RawMessage `json:"expect"`

	raw json.RawMessage // the whole entry, which is a question
}

func (v *vector) UnmarshalJSON(data []byte) error {
	type plain vector // without methods
	v.raw = bytes.Clone(data)
	return json.Unmarshal(data, (*plain)(v))
}

type vectorFile struct {
	Meta struct {
		DefaultOrder map[Kind][]string `json:"default_rule_order_v1_19"`
	} `json:"meta"`
	Vectors []vector `json:"vectors"`
}

func readVectors(t testing.TB) vectorFile {
	t.Helper()
	data, err := os.ReadFile(vectorsFile)
	if err != nil {
		t.Fatal(err)
	}
	var file vectorFile
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestVectors(t *testing.T) {
	checks := map[string]func(*testing.T, vector){
		"condition":       checkMatch,
		"rule":            checkMatch,
		"ruleset":         checkRuleset,
		"default_ruleset": checkRuleset,
		"dotted_path":     checkPath,
		"flatten":         checkFlatten,
		"tweaks":          checkTweaks,
	}
	asserted := 0
	for _, v := range readVectors(t).Vectors {
		if !v.Adopt {
			continue
		}
		asserted++
		t.Run(v.Suite+"/"+v.ID, func(t *testing.T) {
			check, ok := checks[v.Suite]
			if !ok {
				t.Fatalf("no check for suite %q", v.Suite)
			}
			check(t, v)
		})
	}
	if asserted < 280 {
		t.Errorf("asserted %d vectors, want at least 280", asserted)
	}
}

func TestPredefinedOrder(t *testing.T) {
	want := readVectors(t).Meta.DefaultOrder
	rules := Predefined("@jj:server.name")
	for _, list := range rules.lists() {
		got := []string{}
		for _, rule := range list.rules {
			got = append(got, rule.ID)
		}
		if !slices.Equal(got, want[list.kind]) {
			t.Errorf("%s rules:\n got %q\nwant %q", list.kind, got, want[list.kind])
		}
	}
}

func checkMatch(t *testing.T, v vector) {
	got := evaluate(question(t, v)) != nil
	if want := string(v.Expect) == "true"; got != want {
		t.Errorf("match: got %t, want %t", got, want)
	}
}

func checkRuleset(t *testing.T, v vector) {
	var want struct {
		RuleID  *string `json:"rule_id"`
		Actions []any   `json:"actions"`
	}
	unmarshal(t, v.Expect, &want)
	got := evaluate(question(t, v))
	if got == nil || want.RuleID == nil {
		if got != nil || want.RuleID != nil {
			t.Errorf("outcome: got %+v, want rule %s", got, v.Expect)
		}
		return
	}
	if got.RuleID != *want.RuleID {
		t.Errorf("rule: got %s, want %s", got.RuleID, *want.RuleID)
	}
	if actions := decode(t, encode(t, got.Actions)); !reflect.DeepEqual(actions, any(want.Actions)) {
		t.Errorf("actions: got %v, want %v", actions, want.Actions)
	}
}

func checkPath(t *testing.T, v vector) {
	var want []string
	unmarshal(t, v.Expect, &want)
	if got := parsePath(v.Path); !slices.Equal(got, want) {
		t.Errorf("path: got %q, want %q", got, want)
	}
}

func checkFlatten(t *testing.T, v vector) {
	var want map[string]string
	unmarshal(t, v.Expect, &want)
	ev := NewEvent(v.Input, Room{})
	for path, value := range want {
		if n := ev.textAt(parsePath(path)); n == nil || n.text != value {
			t.Errorf("value at %s: got %+v, want %q", path, n, value)
		}
	}
}

func checkTweaks(t *testing.T, v vector) {
	var rule Rule
	unmarshal(t, []byte(`{"actions":`+string(v.Actions)+`}`), &rule)
	outcome := newOutcome(KindOverride, &rule)
	if got, want := decode(t, outcome.Tweaks()), decode(t, v.Expect); !reflect.DeepEqual(got, want) {
		t.Errorf("tweaks: got %v, want %v", got, want)
	}
}

func question(t testing.TB, v vector) *Question {
	t.Helper()
	q, err := ParseQuestion(v.raw)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func evaluate(q *Question) *Outcome { return Compile(&q.Rules, q.User.ID).Evaluate(q.Event, q.User) }

func unmarshal(t testing.TB, data []byte, into any) {
	t.Helper()
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatalf("unmarshal %s: %v", data, err)
	}
}

func decode(t testing.TB, data []byte) (value any) {
	t.Helper()
	unmarshal(t, data, &value)
	return value
}

func encode(t testing.TB, value any) []byte {
	t.Helper()
	data, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
