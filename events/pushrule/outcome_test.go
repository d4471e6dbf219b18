package pushrule

import (
	"slices"
	"testing"
)

func TestOutcome(t *testing.T) {
	for _, test := range []struct {
		actions   []Action
		notify    bool
		sound     string
		highlight bool
		tweaks    string
	}{
		{nil, false, "", false, `{}`},
		{[]Action{notify}, true, "", false, `{}`},
		{[]Action{notify, soundDefault, highlight}, true, "default", true, `{"sound":"default","highlight":true}`},
		{[]Action{highlight}, false, "", true, `{"highlight":true}`},
		{[]Action{`{"set_tweak":"highlight","value":false}`}, false, "", false, `{}`},
		{[]Action{`{"set_tweak":"highlight","value":null}`}, false, "", true, `{"highlight":true}`},
		{[]Action{`{"set_tweak":"highlight","value":"yes"}`}, false, "", false, `{}`},
		{[]Action{highlight, `{"set_tweak":"highlight","value":false}`}, false, "", false, `{}`},
		{[]Action{`{"set_tweak":"sound"}`, `{"set_tweak":"sound","value":null}`}, false, "", false, `{}`},
		{[]Action{`{"set_tweak":"sound","value":7}`}, false, "", false, `{"sound":7}`},
		{[]Action{soundDefault, highlight, `{"set_tweak":"sound","value":"ring"}`}, false, "ring", true,
			`{"sound":"ring","highlight":true}`},
		{[]Action{`{"set_tweak":"a\"b","value":{"c":[1]}}`, soundDefault}, false, "default", false,
			`{"a\"b":{"c":[1]},"sound":"default"}`},
		{[]Action{`{"set_tweak":5,"value":6}`, `"unknown"`, `"{\"set_tweak\":\"highlight\"}"`, `null`, `[]`}, false,
			"", false, `{}`},
	} {
		got := newOutcome(KindRoom, &Rule{Actions: test.actions})
		tweaks := string(got.Tweaks())
		if got.Notify != test.notify || got.Sound != test.sound || got.Highlight != test.highlight || tweaks != test.tweaks {
			t.Errorf("%s: got %+v, tweaks %s, want %+v", test.actions, got, tweaks, test)
		}
	}
}

func TestHistoricalActionsAreIgnored(t *testing.T) {
	got := newOutcome(KindRoom, &Rule{Actions: []Action{`"dont_notify"`, `"coalesce"`, `"unknown"`}})
	if want := []Action{`"unknown"`}; got.Notify || !slices.Equal(got.Actions, want) {
		t.Errorf("got %+v, want only the actions %s", got, want)
	}
}

func TestNoOutcome(t *testing.T) {
	var none *Outcome
	if got := string(none.Tweaks()); got != "{}" || none.Notifies() {
		t.Errorf("no outcome: tweaks %s, notifies %t", got, none.Notifies())
	}
}
