package pushrule

import "encoding/json"

// masterID is the id of the rule that is evaluated before all others, whether predefined or the user's own.
const masterID = ".m.rule.master"

// Predefined returns the rules that every user has until they change them, in the order of Matrix v1.19. Two of them
// contain the user's id: .m.rule.invite_for_me and .m.rule.is_user_mention.
func Predefined(userID string) Ruleset {
	return Ruleset{
		Override:  predefinedOverride(userID),
		Content:   []Rule{},
		Room:      []Rule{},
		Sender:    []Rule{},
		Underride: predefinedUnderride(),
	}
}

func predefinedOverride(userID string) []Rule {
	master := predefined(masterID, []Condition{}, nil)
	master.Enabled = false
	return []Rule{
		master,
		predefined(".m.rule.suppress_notices",
			[]Condition{eventMatch("content.msgtype", "m.notice")}, nil),
		predefined(".m.rule.invite_for_me", []Condition{
			eventMatch("type", "m.room.member"),
			eventMatch("content.membership", "invite"),
			eventMatch("state_key", userID),
		}, []Action{notify, soundDefault}),
		predefined(".m.rule.member_event",
			[]Condition{eventMatch("type", "m.room.member")}, nil),
		predefined(".m.rule.is_user_mention",
			[]Condition{property("event_property_contains", `content.m\.mentions.user_ids`, quote(userID))},
			[]Action{notify, soundDefault, highlight}),
		predefined(".m.rule.is_room_mention", []Condition{
			property("event_property_is", `content.m\.mentions.room`, "true"),
			`{"kind":"sender_notification_permission","key":"room"}`,
		}, []Action{notify, highlight}),
		predefined(".m.rule.tombstone",
			[]Condition{eventMatch("type", "m.room.tombstone"), eventMatch("state_key", "")},
			[]Action{notify, highlight}),
		predefined(".m.rule.reaction",
			[]Condition{eventMatch("type", "m.reaction")}, nil),
		predefined(".m.rule.room.server_acl",
			[]Condition{eventMatch("type", "m.room.server_acl"), eventMatch("state_key", "")}, nil),
		predefined(".m.rule.suppress_edits",
			[]Condition{property("event_property_is", `content.m\.relates_to.rel_type`, `"m.replace"`)}, nil),
	}
}

const twoMembers Condition = `{"kind":"room_member_count","is":"2"}`

func predefinedUnderride() []Rule {
	message, encrypted := eventMatch("type", "m.room.message"), eventMatch("type", "m.room.encrypted")
	return []Rule{
		predefined(".m.rule.call",
			[]Condition{eventMatch("type", "m.call.invite")},
			[]Action{notify, `{"set_tweak":"sound","value":"ring"}`}),
		predefined(".m.rule.encrypted_room_one_to_one",
			[]Condition{twoMembers, encrypted}, []Action{notify, soundDefault}),
		predefined(".m.rule.room_one_to_one",
			[]Condition{twoMembers, message}, []Action{notify, soundDefault}),
		predefined(".m.rule.message", []Condition{message}, []Action{notify}),
		predefined(".m.rule.encrypted", []Condition{encrypted}, []Action{notify}),
	}
}

func predefined(id string, conditions []Condition, actions []Action) Rule {
	if actions == nil {
		actions = []Action{}
	}
	return Rule{ID: id, Default: true, Enabled: true, Conditions: conditions, Actions: actions}
}

func eventMatch(key, pattern string) Condition {
	return Condition(`{"kind":"event_match","key":` + quote(key) + `,"pattern":` + quote(pattern) + `}`)
}

// property returns a condition of a kind that compares with a value, which is given as JSON.
func property(kind, key, value string) Condition {
	return Condition(`{"kind":` + quote(kind) + `,"key":` + quote(key) + `,"value":` + value + `}`)
}

func quote(s string) string {
	text, _ := json.Marshal(s) // never fails for a string
	return string(text)
}
