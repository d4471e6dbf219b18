package pushrule

import (
	"maps"
	"math/rand/v2"
	"strconv"
	"strings"
)

// generator produces random rulesets and events.
type generator struct{ *rand.Rand }

func newGenerator(seed, stream uint64) generator {
	return generator{rand.New(rand.NewPCG(seed, stream))}
}

type object map[string]any

var (
	userIDs = []string{"@a:x", "@b:x", "@A:x"}
	roomIDs = []string{"!a:x", "!b:x"}
	types   = []string{"m.room.message", "m.room.member", "m.reaction", "m.room.encrypted", "m.room.tombstone", "A"}
	letters = []string{"a", "A", "b", "aa", " ", "-", "_", "é", "É", "ſ", "s", "K", "k", "⚡", "ab ba", "@room"}
	wilds   = []string{"*", "?", "**", "?*"}
	keys    = []string{"content.body", "type", "state_key", "room_id", "sender", "content.k", "content.k.k",
		`content.m\.mentions`, `content.m\.mentions.room`, `content.m\.mentions.user_ids`, `k\\.a`, `k\a.`, `content\.k`}
)

func (g generator) pick(from []string) string { return from[g.IntN(len(from))] }

func (g generator) chance(percent int) bool { return g.IntN(100) < percent }

func (g generator) text(most int) string {
	var text strings.Builder
	for range g.IntN(most + 1) {
		text.WriteString(g.pick(letters))
	}
	return text.String()
}

func (g generator) pattern() string {
	var text strings.Builder
	for range g.IntN(5) {
		if g.chance(30) {
			text.WriteString(g.pick(wilds))
		} else {
			text.WriteString(g.pick(letters))
		}
	}
	if g.chance(3) { // long enough for every search algorithm
		return strings.Repeat(text.String(), 20)
	}
	return text.String()
}

func (g generator) scalar() any {
	values := []any{nil, true, false, 0, 1, -7, 1.5, 1 << 53, "", "1", "true", g.pick(userIDs), g.text(1)}
	return values[g.IntN(len(values))]
}

func (g generator) value() any {
	switch g.IntN(6) {
	case 0:
		elements := []any{}
		for range g.IntN(40) {
			elements = append(elements, g.scalar())
		}
		return elements
	case 1:
		return object{"k": g.scalar(), "a": g.scalar()}
	}
	return g.scalar()
}

func (g generator) event() object {
	content := object{"body": g.text(8), "k": g.value()}
	if g.chance(10) {
		content["body"] = g.value()
	}
	if g.chance(5) {
		content["body"] = strings.Repeat(g.text(3), 30) + "b"
	}
	if g.chance(40) {
		content["m.mentions"] = object{"room": g.scalar(), "user_ids": []any{g.pick(userIDs), g.scalar()}}
	}
	if g.chance(20) {
		content["msgtype"], content["membership"] = "m.notice", "invite"
	}
	if g.chance(10) {
		content["m.relates_to"] = object{"rel_type": "m.replace"}
	}
	event := object{"type": g.pick(types), "room_id": g.pick(roomIDs), "sender": g.pick(userIDs), "content": content,
		`k\`: g.value(), `k\a`: object{"": g.text(1)}}
	if g.chance(30) {
		event["state_key"] = g.pick(append(userIDs, ""))
	}
	if g.chance(5) {
		event[g.pick([]string{"type", "sender", "room_id", "content"})] = g.value()
	}
	for i := range g.IntN(2) * 20 {
		event["x"+strconv.Itoa(i)] = i
	}
	return event
}

func (g generator) room() Room {
	room := Room{MemberCount: g.IntN(4), SenderLevel: int64(g.IntN(3) * 50), SenderIsCreator: g.chance(5)}
	if g.chance(50) {
		room.NotificationLevels = map[string]int64{"room": int64(g.IntN(3) * 50)}
	}
	return room
}

// ruleset returns rules of the user's, most of the predefined ones, and some that earlier versions predefined.
func (g generator) ruleset(predefined map[Kind][]object) map[Kind][]object {
	rules := map[Kind][]object{}
	own := 0
	for _, kind := range []Kind{KindOverride, KindContent, KindPostContent, KindRoom, KindSender, KindUnderride} {
		for range g.IntN(3) {
			own++
			rules[kind] = append(rules[kind], g.rule(kind, "own"+strconv.Itoa(own)))
		}
		for _, rule := range predefined[kind] {
			rule = maps.Clone(rule)
			rule["enabled"] = rule["enabled"] != g.chance(15)
			if g.chance(10) {
				rule["actions"] = []any{"notify"}
			}
			rules[kind] = append(rules[kind], rule)
		}
	}
	for _, id := range []string{".m.rule.contains_display_name", ".m.rule.roomnotif", ".m.rule.contains_user_name"} {
		if g.chance(30) {
			rules[KindUnderride] = append(rules[KindUnderride], g.rule(KindUnderride, id))
		}
	}
	for _, kind := range []Kind{KindOverride, KindContent, KindPostContent, KindRoom, KindSender, KindUnderride} {
		if list := rules[kind]; g.chance(10) {
			g.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		}
	}
	return rules
}

func (g generator) rule(kind Kind, id string) object {
	rule := object{"rule_id": id, "default": g.chance(5), "enabled": g.chance(80), "actions": g.actions()}
	switch kind {
	case KindRoom:
		rule["rule_id"] = g.pick(roomIDs)
	case KindSender:
		rule["rule_id"] = g.pick(userIDs)
	case KindContent:
		rule["pattern"] = g.pattern()
	default:
		conditions := []any{}
		for range g.IntN(3) {
			conditions = append(conditions, g.condition())
		}
		rule["conditions"] = conditions
	}
	return rule
}

func (g generator) actions() []any {
	all := []any{"notify", "dont_notify", "coalesce", "unknown", 5, nil, object{"set_tweak": "highlight"},
		object{"set_tweak": "highlight", "value": g.scalar()}, object{"set_tweak": "sound"},
		object{"set_tweak": "sound", "value": g.scalar()}, object{"set_tweak": `odd "one"`, "value": g.value()}}
	actions := []any{}
	for range g.IntN(5) {
		actions = append(actions, all[g.IntN(len(all))])
	}
	return actions
}

func (g generator) condition() any {
	key := g.pick(keys)
	switch g.IntN(12) {
	case 0, 1, 2:
		return object{"kind": "event_match", "key": "content.body", "pattern": g.pattern()}
	case 3:
		return object{"kind": "event_match", "key": key, "pattern": g.pattern()}
	case 4:
		return object{"kind": "event_match", "key": key, "pattern": g.pick(append(userIDs, types...))}
	case 5, 6:
		return object{"kind": "event_property_is", "key": key, "value": g.value()}
	case 7, 8:
		return object{"kind": "event_property_contains", "key": key, "value": g.scalar()}
	case 9:
		return object{"kind": "contains_display_name"}
	case 10:
		is := g.pick([]string{"", "==", "<", ">", "<=", ">=", "=", "!", "+"}) + g.pick([]string{"", "1", "2", "3", "x", "18446744073709551618"})
		return object{"kind": "room_member_count", "is": is}
	}
	odd := []any{object{"kind": "sender_notification_permission", "key": g.pick([]string{"room", "other"})},
		object{"kind": "org.matrix.msc4506.recipient_permission", "key": g.pick([]string{"invite", "kick", "ban", "redact", "other"})},
		object{"kind": "io.element.msc4306.thread_subscription", "subscribed": g.chance(50)},
		object{"kind": "event_match", "key": key, "pattern": g.pick(userIDs)},
		object{"kind": "unknown"}, object{}, "text", nil, object{"kind": "event_match", "key": key}}
	return odd[g.IntN(len(odd))]
}
