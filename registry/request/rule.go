package request

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"unicode/utf8"

	"poked/events/pushrule"
	"poked/registry/problem"
	"poked/registry/store"
)

// MaxRuleIDBytes is a limit that the specification does not set.
const MaxRuleIDBytes = 255

// CheckOwn refuses names that a user's own rule may not have. MSC4306 keeps postcontent for predefined
// rules.
func CheckOwn(name store.RuleName) error {
	if name.Kind == pushrule.KindPostContent {
		return problem.New(problem.InvalidParam, "users cannot make rules of the kind postcontent")
	}
	return checkRuleID(name.ID)
}

// checkRuleID refuses ids that a user's own rule may not have (client-server API, "PUT
// /_matrix/client/v3/pushrules/global/{kind}/{ruleId}").
func checkRuleID(id string) error {
	switch {
	case strings.HasPrefix(id, "."):
		return problem.New(problem.InvalidParam, "a rule id must not begin with a dot, which marks predefined rules")
	case strings.ContainsAny(id, `/\`):
		return problem.New(problem.InvalidParam, "a rule id must not contain a slash or a backslash")
	case len(id) > MaxRuleIDBytes || !utf8.ValidString(id):
		return problem.New(problem.InvalidParam, fmt.Sprintf("a rule id must have at most %d bytes of UTF-8", MaxRuleIDBytes))
	}
	return nil
}

// ParseRule reads the body that sets a rule. It ignores keys that do not apply to the
// kind. An override or underride rule without conditions has an empty list, which always
// matches.
func ParseRule(body []byte, name store.RuleName) (pushrule.Rule, error) {
	f, err := ParseFields(body)
	if err != nil {
		return pushrule.Rule{}, err
	}
	rule := pushrule.Rule{ID: name.ID, Enabled: true, Actions: f.Actions()}
	switch name.Kind {
	case pushrule.KindOverride, pushrule.KindUnderride:
		rule.Conditions = f.conditions()
	case pushrule.KindContent:
		pattern := f.Text("pattern")
		rule.Pattern = &pattern
	case pushrule.KindRoom, pushrule.KindSender, pushrule.KindPostContent:
	}
	return rule, f.Err()
}

// Actions reads the actions of a rule. It refuses unknown ones, since they would have no
// effect.
func (f *Fields) Actions() []pushrule.Action {
	actions := []pushrule.Action{}
	for i, raw := range f.list("actions") {
		f.Want(knownAction(raw), fmt.Sprintf("actions[%d]", i),
			`must be "notify", "dont_notify", "coalesce" or an object with the string set_tweak`)
		actions = append(actions, pushrule.Action(raw))
	}
	return actions
}

func knownAction(raw json.RawMessage) bool {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text == "notify" || text == "dont_notify" || text == "coalesce"
	}
	object, err := ParseObject(raw)
	var tweak *string
	return err == nil && json.Unmarshal(object["set_tweak"], &tweak) == nil && tweak != nil
}

// conditions reads the conditions of a rule. Unknown kinds are stored unchanged: they
// never match here, but other clients of the user may support them.
func (f *Fields) conditions() []pushrule.Condition {
	conditions := []pushrule.Condition{}
	if f.absent("conditions") {
		return conditions
	}
	for i, raw := range f.list("conditions") {
		object, err := ParseObject(raw)
		var kind *string
		f.Want(err == nil && json.Unmarshal(object["kind"], &kind) == nil && kind != nil,
			fmt.Sprintf("conditions[%d]", i), "must be an object with the string kind")
		conditions = append(conditions, pushrule.Condition(raw))
	}
	return conditions
}

// ParsePlace reads the query of a request that sets a rule. If both before and after are
// given, before wins and after is ignored, as the specification says.
func ParsePlace(query url.Values, name store.RuleName) (store.Place, error) {
	at := store.Place{Before: query.Get("before"), After: query.Get("after")}
	if at.Before != "" {
		at.After = ""
	}
	switch beside := at.Before + at.After; {
	case strings.HasPrefix(beside, "."):
		return store.Place{}, problem.New(problem.InvalidParam, "a rule cannot be placed before or after a predefined one")
	case beside == name.ID:
		return store.Place{}, problem.New(problem.InvalidParam, "a rule cannot be placed before or after itself")
	}
	return at, nil
}
