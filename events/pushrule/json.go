package pushrule

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/tidwall/gjson"
)

var errNotObject = errors.New("not a JSON object")

// UnmarshalJSON parses a ruleset. Only a value that is not a JSON object is an error. Lists that are not arrays are
// empty.
func (rs *Ruleset) UnmarshalJSON(data []byte) error {
	doc := gjson.ParseBytes(data)
	if !doc.IsObject() {
		return fmt.Errorf("read ruleset: %w", errNotObject)
	}
	*rs = Ruleset{
		Override:  readRules(doc.Get("override")),
		Content:   readRules(doc.Get("content")),
		Room:      readRules(doc.Get("room")),
		Sender:    readRules(doc.Get("sender")),
		Underride: readRules(doc.Get("underride")),
	}
	if list := doc.Get("postcontent"); list.IsArray() {
		rs.PostContent = readRules(list)
	}
	doc.ForEach(func(name, value gjson.Result) bool {
		switch Kind(name.Str) {
		case KindOverride, KindContent, KindPostContent, KindRoom, KindSender, KindUnderride:
			return true
		}
		if rs.Other == nil {
			rs.Other = make(map[string]json.RawMessage)
		}
		rs.Other[name.Str] = json.RawMessage(compact(value.Raw))
		return true
	})
	return nil
}

// MarshalJSON writes the five lists of the specification, empty ones as [], and then the other members of the ruleset.
func (rs Ruleset) MarshalJSON() ([]byte, error) {
	type plain Ruleset // without methods
	for _, rules := range []*[]Rule{&rs.Override, &rs.Content, &rs.Room, &rs.Sender, &rs.Underride} {
		if *rules == nil {
			*rules = []Rule{}
		}
	}
	lists, err := json.Marshal(plain(rs))
	if err != nil || len(rs.Other) == 0 {
		return lists, err
	}
	other, err := json.Marshal(rs.Other)
	if err != nil {
		return nil, fmt.Errorf("write ruleset: %w", err)
	}
	// Two objects that are not empty, written as one.
	return slices.Concat(lists[:len(lists)-1], []byte(","), other[1:]), nil
}

// UnmarshalJSON parses a rule. Only a value that is not a JSON object is an error. A rule without "enabled" is
// enabled; one whose "enabled" is not a boolean is disabled; one whose conditions are not an array never matches.
func (r *Rule) UnmarshalJSON(data []byte) error {
	doc := gjson.ParseBytes(data)
	if !doc.IsObject() {
		return fmt.Errorf("read rule: %w", errNotObject)
	}
	*r = readRule(doc)
	return nil
}

// MarshalJSON writes the rule without a nil Pattern and nil Conditions.
func (r Rule) MarshalJSON() ([]byte, error) {
	type plain Rule // without methods
	if r.Actions == nil {
		r.Actions = []Action{}
	}
	return json.Marshal(plain(r))
}

// UnmarshalJSON keeps any JSON value.
func (c *Condition) UnmarshalJSON(data []byte) error {
	*c = Condition(compact(string(data)))
	return nil
}

// MarshalJSON writes the condition's text.
func (c Condition) MarshalJSON() ([]byte, error) { return []byte(c), nil }

// UnmarshalJSON keeps any JSON value.
func (a *Action) UnmarshalJSON(data []byte) error {
	*a = Action(compact(string(data)))
	return nil
}

// MarshalJSON writes the action's text.
func (a Action) MarshalJSON() ([]byte, error) { return []byte(a), nil }

func readRules(doc gjson.Result) []Rule {
	rules := []Rule{}
	for _, element := range elementsOf(doc) {
		if element.IsObject() {
			rules = append(rules, readRule(element))
		}
	}
	return rules
}

func readRule(doc gjson.Result) Rule {
	enabled := doc.Get("enabled")
	rule := Rule{
		ID:      textOf(doc.Get("rule_id")),
		Default: doc.Get("default").Type == gjson.True,
		Enabled: enabled.Type == gjson.Null || enabled.Type == gjson.True,
		Actions: []Action{},
	}
	if pattern := doc.Get("pattern"); pattern.Type == gjson.String {
		rule.Pattern = &pattern.Str
	}
	for _, element := range elementsOf(doc.Get("actions")) {
		rule.Actions = append(rule.Actions, Action(compact(element.Raw)))
	}
	rule.Conditions = readConditions(doc.Get("conditions"))
	return rule
}

// readConditions returns nil for absent conditions, which always hold, and a condition that never holds for a value
// that is not an array.
func readConditions(doc gjson.Result) []Condition {
	switch {
	case doc.Type == gjson.Null:
		return nil
	case !doc.IsArray():
		return []Condition{"null"}
	}
	conditions := []Condition{}
	for _, element := range elementsOf(doc) {
		conditions = append(conditions, Condition(compact(element.Raw)))
	}
	return conditions
}

func elementsOf(doc gjson.Result) []gjson.Result {
	if !doc.IsArray() {
		return nil
	}
	return doc.Array()
}

// textOf returns a string value, or "" for any other value.
func textOf(doc gjson.Result) string {
	if doc.Type != gjson.String {
		return ""
	}
	return doc.Str
}

// compact removes white space from a JSON text. Invalid JSON becomes null.
func compact(raw string) string {
	var out bytes.Buffer
	if err := json.Compact(&out, []byte(raw)); err != nil {
		return "null"
	}
	return out.String()
}
