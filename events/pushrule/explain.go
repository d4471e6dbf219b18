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
	// Asked reports whether the rule was evaluated: it is enabled, no rule before it matched, and the event is not
	// the user's own.
	Asked bool `json:"asked"`
	// Matched reports whether the rule was evaluated and matched, so that it decides. At most one rule does.
	Matched bool `json:"matched"`
	// Why lists why the rule was not evaluated and which of its conditions do not hold, one reason each. It is empty
	// for the rule that matched. It quotes the rule but never the event.
	Why []string `json:"why,omitempty"`
}

// Explain reports for every rule of a user, in evaluation order, whether it matched an event, and if not, why. The
// rule with Matched is the one that Evaluate returns. Rules after it are explained as if they had been evaluated: one
// that would have matched then has no other reason. Rules of proposals that are not offered are left out. Explain is
// slow; it serves people who debug rules.
func Explain(rules *Ruleset, ev *Event, user User) []Explanation {
	x := explainer{ev: ev, compiler: compiler{ownID: user.ID}}
	ev.user = user
	if user.ID == ev.sender && ev.sender != "" {
		x.decided = "own event"
	}
	all := []Explanation{}
	for _, list := range rules.lists() {
		for _, rule := range inOrder(list) {
			if !ev.offers.include(rule.proposal) {
				continue
			}
			all = append(all, x.explain(list.kind, rule))
		}
	}
	return all
}

// explainer evaluates the rules of one user.
type explainer struct {
	ev       *Event
	compiler compiler
	decided  string // why the remaining rules are not evaluated; "" if they are
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

// failures returns the conditions that keep the rule from matching.
func (x *explainer) failures(kind Kind, rule *Rule) []string {
	conditions := x.compiler.conditions(kind, rule)
	sources := make([]Condition, len(conditions))
	if kind == KindOverride || kind == KindPostContent || kind == KindUnderride {
		// The implicit conditions, which have no JSON, come first.
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

// failure describes a condition that does not hold. source is empty for an implicit condition.
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
		"event_match":                             {"key", "pattern"},
		"event_property_is":                       {"key", "value"},
		"event_property_contains":                 {"key", "value"},
		"room_member_count":                       {"is"},
		"sender_notification_permission":          {"key"},
		"org.matrix.msc4506.recipient_permission": {"key"},
		"io.element.msc4306.thread_subscription":  {"subscribed"},
		"im.nheko.msc3664.related_event_match":    {"rel_type"},
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
