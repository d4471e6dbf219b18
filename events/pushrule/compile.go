package pushrule

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/tidwall/gjson"
)

// Compiled is a ruleset that is ready for evaluation. It is immutable and safe for concurrent use.
type Compiled struct {
	rules []rule
	slots map[Condition]slots // the predefined conditions whose results events cache
	known map[string]known    // set only in Everyone: the predefined rules by id
}

// rule is an enabled rule that can match.
type rule struct {
	proposal Offers      // must be offered; 0 unless it is a proposed rule
	slots    slots       // of the memoised conditions
	shared   []condition // conditions that give the same result for all users
	personal []personal
	outcome  *Outcome
}

func newRule(conditions []condition, outcome *Outcome) rule {
	r := rule{outcome: outcome}
	for _, condition := range conditions {
		switch c := condition.(type) {
		case personal:
			r.personal = append(r.personal, c)
			continue
		case *memoised:
			r.slots |= c.slot
		}
		r.shared = append(r.shared, condition)
	}
	return r
}

// anyUser takes the place of the user's own id in Everyone. No Matrix id contains NUL.
const anyUser = "\x00"

// Everyone returns the predefined rules and those of proposals, compiled once for all users that have no others.
func Everyone() *Compiled { return everyone() }

var everyone = sync.OnceValue(func() *Compiled { //nolint:gochecknoglobals // made once, never changed
	rules := withProposed(Predefined(anyUser))
	return compile(&compiler{ownID: anyUser, slots: make(map[Condition]slots), assign: true}, &rules)
})

// Compile compiles the ruleset of a user. Conditions that contain the user's own id, as two of the predefined rules
// do, become conditions on the user being evaluated, so users whose rulesets differ only in that id can share one
// Compiled. The id is literal text there, even if it contains a * or ?.
func Compile(rules *Ruleset, userID string) *Compiled {
	return compile(&compiler{ownID: userID, slots: everyone().slots, known: everyone().known}, rules)
}

func compile(c *compiler, rs *Ruleset) *Compiled {
	compiled := &Compiled{slots: c.slots}
	if c.assign {
		compiled.known = make(map[string]known)
	}
	for _, list := range rs.lists() {
		for _, source := range inOrder(list) {
			if !source.Enabled {
				continue
			}
			compiledRule, ok := c.rule(list.kind, source)
			if ok {
				compiled.rules = append(compiled.rules, compiledRule)
			}
			if c.assign {
				compiled.known[source.ID] = known{list.kind, source, compiledRule}
			}
		}
	}
	return compiled
}

// rule compiles a rule, or reuses the one in Everyone. ok is false if the rule can never match.
func (c *compiler) rule(kind Kind, source *Rule) (r rule, ok bool) {
	if like, ok := c.known[source.ID]; ok && like.kind == kind && like.is(source, c.ownID) {
		return like.compiled, true
	}
	conditions := c.conditions(kind, source)
	if slices.Contains(conditions, condition(never{})) {
		return rule{}, false
	}
	r = newRule(conditions, newOutcome(kind, source))
	r.proposal = source.proposal
	return r, true
}

// known is a predefined rule that Everyone has compiled.
type known struct {
	kind     Kind
	source   *Rule
	compiled rule
}

// is reports whether a user's rule equals the predefined one.
func (k *known) is(r *Rule, userID string) bool {
	return k.source.proposal == r.proposal && slices.Equal(k.source.Actions, r.Actions) &&
		slices.EqualFunc(k.source.Conditions, r.Conditions, func(everyone, own Condition) bool {
			return everyone == own || userID != "" &&
				strings.ReplaceAll(string(everyone), quote(anyUser), quote(userID)) == string(own)
		})
}

// inOrder returns a list's rules in evaluation order: the master rule, the user's own, the predefined ones.
func inOrder(l list) []*Rule {
	rank := func(r *Rule) int {
		switch {
		case l.kind == KindOverride && r.ID == masterID:
			return 0
		case !r.Default && !strings.HasPrefix(r.ID, "."):
			return 1
		}
		return 2
	}
	rules := make([]*Rule, len(l.rules))
	for i := range l.rules {
		rules[i] = &l.rules[i]
	}
	slices.SortStableFunc(rules, func(a, b *Rule) int { return rank(a) - rank(b) })
	return rules
}

// compiler compiles the rules of one user.
type compiler struct {
	ownID  string
	slots  map[Condition]slots
	known  map[string]known
	assign bool // assign slots to conditions; otherwise existing slots are used
}

// conditions returns everything that must hold for the rule to match.
func (c *compiler) conditions(kind Kind, r *Rule) []condition {
	var all []condition
	switch r.ID {
	case ".m.rule.contains_display_name", ".m.rule.contains_user_name", ".m.rule.roomnotif":
		all = append(all, noMentions{})
	}
	switch kind {
	case KindContent:
		if r.Pattern == nil {
			return []condition{never{}}
		}
		return append(all, &bodyMatch{newGlob(*r.Pattern)})
	case KindRoom:
		return append(all, &inRoom{r.ID})
	case KindSender:
		return append(all, &fromSender{r.ID})
	}
	for _, source := range r.Conditions {
		all = append(all, c.remembered(source))
	}
	return all
}

// remembered compiles a condition. If it has or gets a slot, events cache its result.
func (c *compiler) remembered(source Condition) condition {
	compiled := c.condition(gjson.Parse(string(source)))
	switch compiled.(type) {
	case personal, *relatedMatch, never:
		return compiled
	}
	slot, ok := c.slots[source]
	if !ok && !c.assign {
		return compiled
	}
	if !ok {
		slot = 1 << len(c.slots)
		c.slots[source] = slot
	}
	return &memoised{slot, compiled}
}

// condition compiles a condition's JSON.
func (c *compiler) condition(doc gjson.Result) condition {
	if !doc.IsObject() {
		return never{}
	}
	switch textOf(doc.Get("kind")) {
	case "event_match":
		return c.eventMatch(doc.Get("key"), doc.Get("pattern"))
	case "event_property_is":
		return c.property(doc, func(path []string, value scalar) condition { return &propertyIs{path, value} })
	case "event_property_contains":
		return c.property(doc, func(path []string, value scalar) condition {
			if value.shape == shapeString && c.isOwn(value.text) {
				return &containsOwnID{path}
			}
			return &propertyContains{path, value}
		})
	case "contains_display_name":
		return containsDisplayName{}
	case "room_member_count":
		return newMemberCount(textOf(doc.Get("is")))
	case "sender_notification_permission":
		if key := doc.Get("key"); key.Type == gjson.String {
			return &senderPermission{key.Str}
		}
	case "org.matrix.msc4506.recipient_permission":
		if key := doc.Get("key"); key.Type == gjson.String {
			return newRecipientPermission(key.Str)
		}
	case "io.element.msc4306.thread_subscription":
		return newThreadSubscription(doc.Get("subscribed"))
	case "im.nheko.msc3664.related_event_match":
		return c.relatedMatch(doc)
	}
	return never{}
}

// isOwn reports whether a text is the id of the ruleset's owner.
func (c *compiler) isOwn(text string) bool { return text != "" && text == c.ownID }

func (c *compiler) eventMatch(key, pattern gjson.Result) condition {
	if key.Type != gjson.String || pattern.Type != gjson.String {
		return never{}
	}
	path := parsePath(key.Str)
	switch {
	case isBody(path):
		return &bodyMatch{newGlob(pattern.Str)}
	case c.isOwn(pattern.Str):
		return &ownIDMatch{path}
	}
	return &textMatch{path, newGlob(pattern.Str)}
}

func (c *compiler) property(doc gjson.Result, build func([]string, scalar) condition) condition {
	key := doc.Get("key")
	value, ok := newScalar(doc.Get("value"))
	if key.Type != gjson.String || !ok {
		return never{}
	}
	return build(parsePath(key.Str), value)
}

func (c *compiler) relatedMatch(doc gjson.Result) condition {
	relType, key, pattern := doc.Get("rel_type"), doc.Get("key"), doc.Get("pattern")
	if relType.Type != gjson.String {
		return never{}
	}
	related := &relatedMatch{relType: relType.Str, includeFallbacks: doc.Get("include_fallbacks").Type == gjson.True}
	if key.Exists() || pattern.Exists() {
		related.match = (&compiler{}).eventMatch(key, pattern)
	}
	return related
}

func newRecipientPermission(action string) condition {
	if _, ok := (PowerLevels{}).needed(action); !ok {
		return never{}
	}
	return recipientPermission{action}
}

func newThreadSubscription(subscribed gjson.Result) condition {
	if !subscribed.IsBool() {
		return never{}
	}
	return threadSubscription{subscribed.Bool()}
}

// newMemberCount reads a decimal number of any size with an optional comparison before
// it, such as "2" or "<=10".
func newMemberCount(is string) condition {
	digits := strings.TrimLeft(is, "=<>")
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		return never{}
	}
	// A count that no int can hold is larger than every number of members, as the largest int is.
	count, err := strconv.Atoi(digits)
	if err != nil {
		count = math.MaxInt
	}
	switch is[:len(is)-len(digits)] {
	case "", "==":
		return &memberCount{count, count}
	case "<":
		return &memberCount{math.MinInt, count - 1}
	case "<=":
		return &memberCount{math.MinInt, count}
	case ">":
		if count == math.MaxInt {
			return &memberCount{count, 0} // an empty range
		}
		return &memberCount{count + 1, math.MaxInt}
	case ">=":
		return &memberCount{count, math.MaxInt}
	}
	return never{}
}
