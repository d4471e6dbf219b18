package pushrule

// condition is a compiled condition. It depends on the event and, if it is a personal condition, on the user being
// evaluated.
type condition interface {
	holds(ev *Event) bool
}

// never is a condition that is unknown or cannot be parsed.
type never struct{}

func (never) holds(*Event) bool { return false }

// textMatch is event_match on any property except content.body.
type textMatch struct {
	path []string
	glob glob
}

func (c *textMatch) holds(ev *Event) bool {
	n := ev.textAt(c.path)
	return n != nil && c.glob.matchWhole(ev.fold(n))
}

// bodyMatch is event_match on content.body, and the condition of a content rule.
type bodyMatch struct{ glob glob }

func (c *bodyMatch) holds(ev *Event) bool {
	body := ev.bodyText()
	return body != nil && c.glob.matchWords(body)
}

// inRoom is the condition of a room rule: equality, case-sensitive.
type inRoom struct{ id string }

func (c *inRoom) holds(ev *Event) bool { return c.id != "" && ev.roomID == c.id }

// fromSender is the condition of a sender rule: equality, case-sensitive.
type fromSender struct{ id string }

func (c *fromSender) holds(ev *Event) bool { return c.id != "" && ev.sender == c.id }

// propertyIs is event_property_is.
type propertyIs struct {
	path  []string
	value scalar
}

func (c *propertyIs) holds(ev *Event) bool {
	n := ev.at(c.path)
	return n != nil && n.scalar == c.value
}

// propertyContains is event_property_contains.
type propertyContains struct {
	path  []string
	value scalar
}

func (c *propertyContains) holds(ev *Event) bool { return ev.at(c.path).contains(c.value) }

// memberCount is room_member_count: an inclusive range.
type memberCount struct{ least, most int }

func (c *memberCount) holds(ev *Event) bool {
	return c.least <= ev.room.MemberCount && ev.room.MemberCount <= c.most
}

// senderPermission is sender_notification_permission.
type senderPermission struct{ kind string }

func (c *senderPermission) holds(ev *Event) bool { return ev.room.maySenderNotify(c.kind) }

// noMentions keeps the mention rules from before v1.7 from matching events that have m.mentions.
type noMentions struct{}

func (noMentions) holds(ev *Event) bool {
	return ev.contentMember("m.mentions") == nil
}

// relatedMatch is im.nheko.msc3664.related_event_match. Without a pattern the relation alone is sufficient.
type relatedMatch struct {
	relType          string
	match            condition // nil for no pattern
	includeFallbacks bool
}

func (c *relatedMatch) holds(ev *Event) bool {
	related := ev.related[c.relType]
	if related == nil || !c.includeFallbacks && c.relType == "m.in_reply_to" && ev.isFallingBack() {
		return false
	}
	return c.match == nil || c.match.holds(related)
}

// isFallingBack reports whether the event's reply is a fallback for clients without threads.
func (ev *Event) isFallingBack() bool {
	n := ev.member(ev.contentMember("m.relates_to"), "is_falling_back")
	return n != nil && n.scalar == scalar{shape: shapeBool, number: 1}
}

// memoised is a condition that does not depend on the user: it is decided once for each event.
type memoised struct {
	slot slots // exactly one
	condition
}

func (c *memoised) holds(ev *Event) bool {
	if (ev.holding|ev.failing)&c.slot == 0 {
		if c.condition.holds(ev) {
			ev.holding |= c.slot
		} else {
			ev.failing |= c.slot
		}
	}
	return ev.holding&c.slot != 0
}

// slots is a set of memoised conditions.
type slots uint32

// maxSlots is how many memoised conditions there can be.
const maxSlots = 32
