package pushrule

import (
	"fmt"
	"slices"

	"github.com/tidwall/gjson"
)

// Explanation is the result of one rule.
type Explanation struct {
	RuleID string `json:"rule_id"`
	Kind   Kind   `json:"kind"`
	// Asked reports whether the evaluator came to the rule: no rule before it had matched, it is enabled, and the event is
	// not the user's own.
	Asked bool `json:"asked"`
	// Matched reports whether the rule was asked and holds, so that it decides. Only one rule of an event does.
	Matched bool `json:"matched"`
	// Why lists why the rule was not asked, and what keeps it from matching: one reason each, empty for the rule
	// that matched. They quote the rule, but nothing of the event.
	Why []string `json:"why,omitempty"`
}

// Explain reports for every rule of a user, in the order in which they are asked, whether it matched an event and why
// not; the one with Matched is what Evaluate returns, if any is. Rules that were not asked are explained as if they
// had been: one that would have matched then has no reason but that. It takes its time: it is for people.
func Explain(rules *Ruleset, ev *Event, user User) []Explanation {
	x := explainer{ev: ev, compiler: compiler{ownID: user.ID}}
	ev.user = user
	if user.ID == ev.sender && ev.sender != "" {
		x.decided = "own event"
	}
	all := []Explanation{}
	for _, list := range rules.lists() {
		for _, rule := range inOrder(list) {
			all = append(all, x.explain(list.kind, rule))
		}
	}
	return all
}

// explainer goes through the rules of one user.
type explainer struct {
	ev       *Event
	compiler compiler
	decided  string // why no more rules are asked, once it is so
}

func (x *explainer) explain(kind Kind, rule *Rule) Explanation {
	e := Explanation{RuleID: rule.ID, Kind: kind, Asked: rule.Enabled && x.decided == ""}
	if x.decided != "" {
		e.Why = append(e.Why, x.decided)
	}
	if !rule.Enabled {
		e.Why = append(e.Why, "disabled")
	}
	e.Why = append(e.Why, x.failures(kind, rule)...)
	if e.Asked && len(e.Why) == 0 {
		e.Matched = true
		x.decided = fmt.Sprintf("%s rule %q matched before", kind, rule.ID)
	}
	return e
}

// failures returns what keeps the rule from matching.
func (x *explainer) failures(kind Kind, rule *Rule) []string {
	conditions := x.compiler.conditions(kind, rule)
	sources := make([]Condition, len(conditions))
	if kind == KindOverride || kind == KindPostContent || kind == KindUnderride {
		// Those that no condition of the rule's says come first.
		sources = slices.Concat(sources[:len(conditions)-len(rule.Conditions)], rule.Conditions)
	}
	var failures []string
	for i, condition := range conditions {
		if condition.holds(x.ev) {
			continue
		}
		failures = append(failures, x.failure(rule, condition, gjson.Parse(string(sources[i]))))
	}
	return failures
}

// failure returns which condition does not hold and why; source is empty for what the rule itself asks.
func (x *explainer) failure(rule *Rule, condition condition, source gjson.Result) string {
	_, isPattern := condition.(*bodyMatch)
	switch {
	case source.Raw != "" && condition == never{}:
		return unreadable(source)
	case source.Raw != "":
		return describe(source) + ": " + x.reason(condition)
	case isPattern:
		return "pattern " + quote(*rule.Pattern) + ": " + x.reason(condition)
	}
	return x.reason(condition)
}

// describe names a condition with its parameters.
func describe(source gjson.Result) string {
	text := textOf(source.Get("kind"))
	for _, name := range []string{"rel_type", "key", "pattern", "value", "is", "subscribed"} {
		value := source.Get(name)
		switch {
		case !value.Exists():
		case name == "pattern", name == "value", value.Type != gjson.String:
			text += " " + value.Raw
		default:
			text += " " + value.Str
		}
	}
	return text
}

// unreadable returns why a condition can never hold.
func unreadable(source gjson.Result) string {
	kind := source.Get("kind")
	parameters, known := map[string][]string{
		"event_match":                            {"key", "pattern"},
		"event_property_is":                      {"key", "value"},
		"event_property_contains":                {"key", "value"},
		"room_member_count":                      {"is"},
		"sender_notification_permission":         {"key"},
		"io.element.msc4306.thread_subscription": {"subscribed"},
		"im.nheko.msc3664.related_event_match":   {"rel_type"},
	}[textOf(kind)]
	switch {
	case !source.IsObject():
		return "condition is not an object"
	case !kind.Exists():
		return "condition without kind"
	case !known:
		return "unknown condition kind " + kind.Raw
	}
	for _, name := range parameters {
		if !source.Get(name).Exists() {
			return kind.Str + ": missing " + name
		}
	}
	return describe(source) + ": a parameter of the wrong type or value"
}
