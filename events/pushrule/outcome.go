package pushrule

import (
	"slices"

	"github.com/tidwall/gjson"
)

// The actions of the predefined rules.
const (
	notify       Action = `"notify"`
	soundDefault Action = `{"set_tweak":"sound","value":"default"}`
	highlight    Action = `{"set_tweak":"highlight"}`
)

// Outcome is the effect of a rule that matched. It is shared and must not be changed.
type Outcome struct {
	RuleID string
	Kind   Kind
	// Actions are the rule's actions as given, without the historical dont_notify and coalesce.
	Actions []Action
	// Notify reports whether the event notifies. If not, the rule still prevents later rules from notifying.
	Notify bool
	// Sound is the sound tweak, "" if it is absent or not a string.
	Sound string
	// Highlight is the highlight tweak.
	Highlight bool

	tweaks []byte
}

// Tweaks returns the tweaks as the JSON object of a poke, such as {"sound":"default","highlight":true}: in the order of
// the actions, the last value if one is set twice, unknown tweaks unchanged, highlight only if true. A nil Outcome has
// no tweaks. The bytes are shared and must not be changed.
func (o *Outcome) Tweaks() []byte {
	if o == nil {
		return []byte("{}")
	}
	return slices.Clip(o.tweaks)
}

// Notifies reports whether the event notifies the user. A nil Outcome, which means that no rule matched, does not.
func (o *Outcome) Notifies() bool { return o != nil && o.Notify }

// newOutcome parses a rule's actions.
func newOutcome(kind Kind, rule *Rule) *Outcome {
	o := &Outcome{RuleID: rule.ID, Kind: kind, Actions: []Action{}}
	var tweaks tweakList
	for _, action := range rule.Actions {
		switch action {
		case `"dont_notify"`, `"coalesce"`:
			continue
		case notify:
			o.Notify = true
		default:
			tweaks.set(gjson.Parse(string(action)))
		}
		o.Actions = append(o.Actions, action)
	}
	sound := gjson.Parse(tweaks.get("sound"))
	o.Sound = textOf(sound)
	o.Highlight = tweaks.get("highlight") == "true"
	o.tweaks = tweaks.appendJSON(nil)
	return o
}

// tweak is a name and the JSON of its value.
type tweak struct{ name, value string }

type tweakList []tweak

// set parses an action. It ignores actions that set no tweak, or one without a value that it needs. Only highlight
// has a default value, true, and accepts only true or false.
func (l *tweakList) set(action gjson.Result) {
	if !action.IsObject() {
		return
	}
	name, value := action.Get("set_tweak"), action.Get("value")
	if name.Type != gjson.String {
		return
	}
	raw := value.Raw
	if name.Str == "highlight" {
		if value.Type == gjson.Null {
			raw = "true"
		} else if !value.IsBool() {
			return
		}
	}
	if raw == "" || raw == "null" {
		return
	}
	for i := range *l {
		if (*l)[i].name == name.Str {
			(*l)[i].value = raw
			return
		}
	}
	*l = append(*l, tweak{name.Str, raw})
}

func (l tweakList) get(name string) string {
	for _, t := range l {
		if t.name == name {
			return t.value
		}
	}
	return ""
}

func (l tweakList) appendJSON(dst []byte) []byte {
	dst = append(dst, '{')
	for _, t := range l {
		if t.name == "highlight" && t.value == "false" {
			continue
		}
		if dst[len(dst)-1] != '{' {
			dst = append(dst, ',')
		}
		dst = append(append(append(dst, quote(t.name)...), ':'), t.value...)
	}
	return append(dst, '}')
}
