package registry

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"unicode/utf8"

	"poked/events"
	"poked/events/pushrule"
	"poked/registry/problem"
)

// Limits of push rules, which the specification does not set. Bytes count the stored form:
// compact JSON as encoding/json writes it, with <, > and & escaped. The last three keep
// a user's value within one NATS message of 1 MiB.
const (
	maxRuleIDBytes    = 255
	maxRuleBytes      = 4096
	maxRules          = 1000 // of one user, over all scopes
	maxRuleDevices    = 50   // of one user, with rules of their own
	maxRulesBytes     = 384 << 10
	maxPublishedBytes = 384 << 10 // the homeserver's ruleset
	maxIgnoredBytes   = 192 << 10 // the list of ignored users
	maxQuietBytes     = 24 << 10  // where the user wants no pokes
)

// ruleName names one rule of a user.
type ruleName struct {
	scope string // "" for the global rules, or the handle of a device
	kind  pushrule.Kind
	id    string
}

// predefined returns the predefined rule with this name, among those of the specification and
// of the proposals that the operator offers, as it is until a user changes it.
func (s *store) predefined(n ruleName) (rule pushrule.Rule, ok bool) {
	if n.scope != "" {
		return rule, false
	}
	rules := s.rulesetOf(&events.UserPushRules{}, "") // no action depends on the user
	return findRule(&rules, n)
}

// listOf returns a ruleset's list of a kind, or nil if there is no such kind.
func listOf(rules *pushrule.Ruleset, kind pushrule.Kind) *[]pushrule.Rule {
	switch kind {
	case pushrule.KindOverride:
		return &rules.Override
	case pushrule.KindContent:
		return &rules.Content
	case pushrule.KindPostContent:
		return &rules.PostContent
	case pushrule.KindRoom:
		return &rules.Room
	case pushrule.KindSender:
		return &rules.Sender
	case pushrule.KindUnderride:
		return &rules.Underride
	}
	return nil
}

func findRule(rules *pushrule.Ruleset, name ruleName) (pushrule.Rule, bool) {
	for _, rule := range *listOf(rules, name.kind) {
		if rule.ID == name.id {
			return rule, true
		}
	}
	return pushrule.Rule{}, false
}

// rulesetOf returns the rules of one scope, as clients see them.
func (s *store) rulesetOf(rules *events.UserPushRules, scope string) pushrule.Ruleset {
	if scope == "" {
		global := rules.Global()
		return global.Offering(s.offers)
	}
	return rules.Devices[scope]
}

// checkOwn refuses names that a user's own rule may not have. MSC4306 keeps postcontent for predefined
// rules.
func checkOwn(name ruleName) error {
	if name.kind == pushrule.KindPostContent {
		return problem.New(problem.InvalidParam, "users cannot make rules of the kind postcontent")
	}
	return checkRuleID(name.id)
}

// checkRuleID refuses ids that a user's own rule may not have (client-server API, "PUT
// /_matrix/client/v3/pushrules/global/{kind}/{ruleId}").
func checkRuleID(id string) error {
	switch {
	case strings.HasPrefix(id, "."):
		return problem.New(problem.InvalidParam, "a rule id must not begin with a dot, which marks predefined rules")
	case strings.ContainsAny(id, `/\`):
		return problem.New(problem.InvalidParam, "a rule id must not contain a slash or a backslash")
	case len(id) > maxRuleIDBytes || !utf8.ValidString(id):
		return problem.New(problem.InvalidParam, fmt.Sprintf("a rule id must have at most %d bytes of UTF-8", maxRuleIDBytes))
	}
	return nil
}

// parseRule reads the body that sets a rule. It ignores keys that do not apply to the
// kind. An override or underride rule without conditions has an empty list, which always
// matches.
func parseRule(body []byte, name ruleName) (pushrule.Rule, error) {
	f, err := parseFields(body)
	if err != nil {
		return pushrule.Rule{}, err
	}
	rule := pushrule.Rule{ID: name.id, Enabled: true, Actions: f.actions()}
	switch name.kind {
	case pushrule.KindOverride, pushrule.KindUnderride:
		rule.Conditions = f.conditions()
	case pushrule.KindContent:
		pattern := f.text("pattern")
		rule.Pattern = &pattern
	case pushrule.KindRoom, pushrule.KindSender, pushrule.KindPostContent:
	}
	return rule, f.err()
}

// actions reads the actions of a rule. It refuses unknown ones, since they would have no
// effect.
func (f *fields) actions() []pushrule.Action {
	actions := []pushrule.Action{}
	for i, raw := range f.list("actions") {
		f.want(knownAction(raw), fmt.Sprintf("actions[%d]", i),
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
	object, err := parseObject(raw)
	var tweak *string
	return err == nil && json.Unmarshal(object["set_tweak"], &tweak) == nil && tweak != nil
}

// conditions reads the conditions of a rule. Unknown kinds are stored unchanged: they
// never match here, but other clients of the user may support them.
func (f *fields) conditions() []pushrule.Condition {
	conditions := []pushrule.Condition{}
	if f.absent("conditions") {
		return conditions
	}
	for i, raw := range f.list("conditions") {
		object, err := parseObject(raw)
		var kind *string
		f.want(err == nil && json.Unmarshal(object["kind"], &kind) == nil && kind != nil,
			fmt.Sprintf("conditions[%d]", i), "must be an object with the string kind")
		conditions = append(conditions, pushrule.Condition(raw))
	}
	return conditions
}

// place is the requested position of a rule among the user's own rules of its kind:
// directly before or after another rule. If neither is set, an existing rule keeps its
// position and a new one becomes the first.
type place struct{ before, after string }

// parsePlace reads the query of a request that sets a rule. If both before and after are
// given, before wins and after is ignored, as the specification says.
func parsePlace(query url.Values, name ruleName) (place, error) {
	at := place{before: query.Get("before"), after: query.Get("after")}
	if at.before != "" {
		at.after = ""
	}
	switch beside := at.before + at.after; {
	case strings.HasPrefix(beside, "."):
		return place{}, problem.New(problem.InvalidParam, "a rule cannot be placed before or after a predefined one")
	case beside == name.id:
		return place{}, problem.New(problem.InvalidParam, "a rule cannot be placed before or after itself")
	}
	return at, nil
}
