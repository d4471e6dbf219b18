// Package pushrule decides whether an event notifies a user, and how: the push rules of Matrix v1.19
// (client-server API, module "Push Notifications"). It is pure: no clock, no network, no storage, nothing of ours.
//
//	Ruleset (JSON) ──Compile──▶ Compiled ──┐   one for each ruleset, by a Cache for all users with the same rules;
//	                                       │   Everyone() for those on the predefined rules
//	                                       ├──Decide────▶ Decision: Same for all, or For each user
//	                                       ├──Evaluate──▶ *Outcome: rule, notify, tweaks; nil when no rule matches
//	event JSON + Room ──NewEvent──▶ Event ─┘   one for each event, handed in with each User in turn
//
// A Question is all of this written down as JSON, and Explain answers it rule by rule, for people.
//
// # Order
//
// Kinds are asked in the order override, content, room, sender, underride; postcontent, a kind of MSC4306, comes after
// content. Members of a ruleset that are none of these are kept and not asked. Within a kind a user's own rules come
// before predefined ones (those marked default, or whose id starts with a dot), each group in the order it is
// given. An enabled .m.rule.master is asked before everything. The first rule that matches decides alone; disabled
// rules are skipped, and a user's own events never notify.
//
// # Odd rules
//
// Nothing here fails on what a ruleset holds. Unknown condition kinds, missing or mistyped parameters and
// unparsable counts make a condition that never holds, so the rule never matches. Unknown actions, and the
// historical dont_notify and coalesce, do nothing. Conditions and actions are kept as the JSON they came in, so what
// we do not know goes back to clients unchanged. The pre-v1.17 rules .m.rule.contains_display_name,
// .m.rule.contains_user_name and .m.rule.roomnotif are evaluated if a ruleset holds them, but not for events with
// m.mentions.
//
// Two unstable conditions need facts a caller may lack: im.nheko.msc3664.related_event_match wants the related
// event (Event.Relate), io.element.msc4306.thread_subscription the user's subscription (User.Thread). Without the
// fact they never hold.
//
// # What equals what
//
// Case-insensitive means Unicode simple folding, one character to one character ("ß" is not "ss"), except that
// ASCII letters fold among themselves only: the long s and the Kelvin sign stay what they are, so folding never
// turns a word boundary into a word character. A pattern's ? is one Unicode code point. An empty pattern, and *,
// match any body, for an empty stretch between boundaries is a stretch. Integers are those of canonical JSON: 1.0
// and 1e0 are none. Of a key given twice the last counts.
//
// # Classes
//
// Users on the same Compiled are one class, for conditions that name the user's own id, as two of the predefined
// rules do, are compiled to ask who the user is. They, contains_display_name and thread_subscription are the only
// personal conditions. A Decision has walked the rules once: rules before the deciding one that are personal, and
// that the event does not rule out for everybody, stay open and are looked at for each user; mostly there are none.
// An event that mentions nobody by id is the same for all who are on the predefined rules.
//
// # Cost
//
// Each object is parsed, and each text folded, at most once for an event, and only if a rule asks for it. The
// conditions of the predefined rules that do not depend on the user are decided once for an event, whichever
// Compiled asks. A keyword of one word is one hash lookup in the body's words. One of several words is compared only
// where the rarest of them stands; a long one, or with wildcards, is first refused by looking its words up.
//
// For a text of n bytes and a pattern of m, a match costs at most about n·(1+m/64) steps, and mostly one call of
// bytes.Index: it walks along the text once and never takes a choice back (glob), boundaries are checked on the way,
// and where bytes.Index could be made to start again and again, bits are counted instead (automaton). The first
// look at a path of d names into objects nested in each other scans the innermost text up to d times.
//
// Evaluate, Decide and For allocate nothing once an event's lazy parts are there, unless patterns between two stars
// are longer than 256 bytes or display names longer than 32. Users with rules of their own share the predefined ones
// they have left alone.
package pushrule

import "encoding/json"

// Kind is one of the lists of a ruleset.
type Kind string

// The kinds, in the order they are asked. KindPostContent is not part of the specification yet (MSC4306).
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

// Rule is one push rule. What it matches depends on the list it stands in: override, postcontent and underride rules
// match when all Conditions hold (none: always), content rules when Pattern is found in the body, room and sender rules
// when ID is the event's room or sender.
type Rule struct {
	ID         string      `json:"rule_id"`
	Default    bool        `json:"default"`
	Enabled    bool        `json:"enabled"`
	Conditions []Condition `json:"conditions,omitzero"`
	Pattern    *string     `json:"pattern,omitempty"`
	Actions    []Action    `json:"actions"`
}

// Condition is one condition as its JSON text, compact, such as {"kind":"room_member_count","is":"2"}. It is kept
// as text because conditions are open: those we cannot read must still go back to clients as they came.
type Condition string

// Action is one action as its JSON text, compact: "notify" (with its quotes), {"set_tweak":"highlight"}, or
// something unknown.
type Action string

// list is one of a ruleset's lists with its kind.
type list struct {
	kind  Kind
	rules []Rule
}

// lists returns the ruleset's lists in the order they are asked.
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
