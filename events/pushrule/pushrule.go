// Package pushrule decides whether an event notifies a user, and how: the push rules of Matrix v1.19 (client-server
// API, module "Push Notifications"). It is pure: it uses no clock, network or storage and imports no other package of
// poked.
//
//	Ruleset (JSON) ──Compile──▶ Compiled ──┐   one for each ruleset, by a Cache for all users with the same rules;
//	                                       │   Everyone() for those on the predefined rules
//	                                       ├──Decide────▶ Decision: Same for all, or For each user
//	                                       ├──Evaluate──▶ *Outcome: rule, notify, tweaks; nil when no rule matches
//	event JSON + Room ──NewEvent──▶ Event ─┘   one for each event, handed in with each User in turn
//
// A Question is the JSON form of such an evaluation. Explain evaluates rule by rule and gives the reasons.
//
// # Order
//
// Kinds are evaluated in the order override, content, room, sender, underride; postcontent, a kind of MSC4306, comes
// after content. Members of a ruleset that are none of these are kept and not evaluated. Within a kind a user's own
// rules come before predefined ones (those marked default, or whose id starts with a dot), each group in the given
// order. An enabled .m.rule.master comes first of all. The first rule that matches decides alone; disabled rules are
// skipped, and a user's own events never notify.
//
// # Odd rules
//
// No ruleset is an error. An unknown kind of condition, or a missing or mistyped parameter, makes a condition that
// never holds, so its rule never matches. Unknown actions, and the historical dont_notify and coalesce, do nothing.
// Conditions and actions are kept as the JSON that was received, so that unknown ones go back to clients unchanged.
// The pre-v1.17 rules .m.rule.contains_display_name, .m.rule.contains_user_name and .m.rule.roomnotif are evaluated
// if a ruleset contains them, but not for events with m.mentions.
//
// Three unstable conditions depend on facts that a caller may not have: im.nheko.msc3664.related_event_match on the
// related event (Event.Relate), io.element.msc4306.thread_subscription on who is subscribed (Event.InThread), and
// org.matrix.msc4506.recipient_permission on what the user may do in the room (Room.Levels).
// Without the fact they never hold.
//
// # Proposed rules
//
// Changes.Ruleset and Everyone hold the predefined rules of proposals (MSCs) as well, whatever the operator offers: such
// a rule matches only events for which its proposal is offered (Event.Offer), so what is compiled does not depend on the
// operator's choice, which may change while events are evaluated. Ruleset.Offering leaves out what users shall not see.
// A rule of the same id in a ruleset from elsewhere, as homeservers keep them, is one like any other.
//
// # What equals what
//
// Case-insensitive comparison uses Unicode simple folding, one character to one character ("ß" is not "ss"), except
// that ASCII letters fold only among themselves: the long s and the Kelvin sign stay as they are, so folding never
// turns a word boundary into a word character. A ? in a pattern is one Unicode code point. An empty pattern, and *,
// match any body. Integers are those of canonical JSON: 1.0 and 1e0 are not integers. If a key occurs twice, the last
// one wins.
//
// # Classes
//
// Users with the same Compiled form one class: conditions that contain the user's own id, as two of the predefined
// rules do, are compiled to conditions on the user being evaluated. These, contains_display_name, recipient_permission
// and thread_subscription are the only personal conditions. A Decision evaluates the rules once. Rules before the
// deciding one that are personal, and that the event does not rule out for everybody, stay open and are evaluated for
// each user; usually there are none. An event that mentions nobody by id has the same outcome for all users on the
// predefined rules.
//
// # Cost
//
// Each object is parsed, and each text folded, at most once for an event, and only if a rule needs it. The conditions
// of the predefined rules that do not depend on the user are decided once for an event, whichever Compiled is
// evaluated. A keyword of one word is one hash lookup in the body's words. A keyword of several words is compared
// only where the rarest of them occurs; for a long one, or one with wildcards, the words are looked up first.
//
// For a text of n bytes and a pattern of m, a match costs at most about n·(1+m/64) steps, and usually one call of
// bytes.Index: it reads the text once without backtracking (glob) and checks boundaries on the way. Where bytes.Index
// could start over again and again, a bit-parallel automaton takes its place. The first lookup of a path of d names
// in nested objects scans the innermost text up to d times.
//
// Evaluate, Decide and For allocate nothing once an event's lazily computed parts exist, unless a pattern has more
// than 256 bytes between two stars or a display name is longer than 32 bytes. Users with rules of their own share the
// predefined ones that they have not changed.
package pushrule

import (
	"encoding/json"
	"iter"
)

// Kind is one of the lists of a ruleset.
type Kind string

// The kinds, in evaluation order. KindPostContent is not part of the specification yet (MSC4306).
const (
	KindOverride    Kind = "override"
	KindContent     Kind = "content"
	KindPostContent Kind = "postcontent"
	KindRoom        Kind = "room"
	KindSender      Kind = "sender"
	KindUnderride   Kind = "underride"
)

// Ruleset holds a user's rules as clients see them under "global": the user's own and the predefined ones.
type Ruleset struct {
	Override    []Rule `json:"override"`
	Content     []Rule `json:"content"`
	PostContent []Rule `json:"postcontent,omitzero"`
	Room        []Rule `json:"room"`
	Sender      []Rule `json:"sender"`
	Underride   []Rule `json:"underride"`
	// Other holds the members whose names are none of the kinds. They are not evaluated, but clients get them back.
	Other map[string]json.RawMessage `json:"-"`
}

// Rule is one push rule. What it matches depends on its list: override, postcontent and underride rules match when all
// Conditions hold (also if there are none), content rules when Pattern is found in the body, room and sender rules when
// ID is the event's room or sender.
type Rule struct {
	ID         string      `json:"rule_id"`
	Default    bool        `json:"default"`
	Enabled    bool        `json:"enabled"`
	Conditions []Condition `json:"conditions,omitzero"`
	Pattern    *string     `json:"pattern,omitempty"`
	Actions    []Action    `json:"actions"`

	// proposal is set for rules that users have only while the operator offers them.
	proposal Offers
}

// Condition is the compact JSON of one condition, such as {"kind":"room_member_count","is":"2"}. Conditions are kept
// as text so that unknown ones go back to clients unchanged.
type Condition string

// Action is the compact JSON of one action: "notify" (with its quotes), {"set_tweak":"highlight"}, or an unknown one.
type Action string

// list is one of a ruleset's lists and its kind.
type list struct {
	kind  Kind
	rules []Rule
}

// Of returns the list of a kind, or nil if there is no such kind.
func (rs *Ruleset) Of(kind Kind) *[]Rule {
	switch kind {
	case KindOverride:
		return &rs.Override
	case KindContent:
		return &rs.Content
	case KindPostContent:
		return &rs.PostContent
	case KindRoom:
		return &rs.Room
	case KindSender:
		return &rs.Sender
	case KindUnderride:
		return &rs.Underride
	}
	return nil
}

// InOrder yields the rules in evaluation order, disabled ones included.
func (rs *Ruleset) InOrder() iter.Seq2[Kind, *Rule] {
	return func(yield func(Kind, *Rule) bool) {
		for _, list := range rs.lists() {
			for _, rule := range inOrder(list) {
				if !yield(list.kind, rule) {
					return
				}
			}
		}
	}
}

// lists returns the ruleset's lists in evaluation order.
func (rs *Ruleset) lists() [6]list {
	return [6]list{
		{KindOverride, rs.Override},
		{KindContent, rs.Content},
		{KindPostContent, rs.PostContent},
		{KindRoom, rs.Room},
		{KindSender, rs.Sender},
		{KindUnderride, rs.Underride},
	}
}
