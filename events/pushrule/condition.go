package pushrule

import "bytes"

// condition is a compiled condition. It asks the event, and the user whom the event is evaluated for.
type condition interface {
	holds(ev *Event) bool
}

// never is a condition we do not know or cannot read.
type never struct{}

func (never) holds(*Event) bool { return false }

// textMatch is event_match on any property but content.body.
type textMatch struct {
	path []string
	glob glob
}

func (c *textMatch) holds(ev *Event) bool {
	n := ev.textAt(c.path)
	return n != nil && c.glob.matchWhole(n.fold())
}

// bodyMatch is event_match on content.body, and what a content rule asks.
type bodyMatch struct{ glob glob }

func (c *bodyMatch) holds(ev *Event) bool {
	body := ev.bodyText()
	return body != nil && c.glob.matchWords(body)
}

// inRoom is what a room rule asks: no pattern, and case counts.
type inRoom struct{ id string }

func (c *inRoom) holds(ev *Event) bool { return c.id != "" && ev.roomID == c.id }

// fromSender is what a sender rule asks: no pattern, and case counts.
type fromSender struct{ id string }

func (c *fromSender) holds(ev *Event) bool { return c.id != "" && ev.sender == c.id }

// ownIDMatch is event_match with the user's own id as its pattern, whoever the user is.
type ownIDMatch struct{ path []string }

func (c *ownIDMatch) holds(ev *Event) bool {
	n := ev.textAt(c.path)
	if n == nil || n.text == ev.user.ID {
		return n != nil
	}
	ev.scratch = appendFold(ev.scratch[:0], ev.user.ID)
	return bytes.Equal(n.fold(), ev.scratch)
}

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

// containsOwnID is event_property_contains with the user's own id as its value, whoever the user is.
type containsOwnID struct{ path []string }

func (c *containsOwnID) holds(ev *Event) bool {
	return ev.at(c.path).contains(scalar{shape: shapeString, text: ev.user.ID})
}

// containsDisplayName is the historical contains_display_name: the name is literal text, not a pattern.
type containsDisplayName struct{}

func (containsDisplayName) holds(ev *Event) bool {
	body := ev.bodyText()
	if body == nil || ev.user.DisplayName == "" {
		return false
	}
	ev.scratch = appendFold(ev.scratch[:0], ev.user.DisplayName)
	return body.hasName(ev.scratch)
}

// hasName tells whether a folded name stands in the body between word boundaries.
func (b *body) hasName(name []byte) bool {
	word := wholeWord(name)
	if word != nil && !b.words().has(hashWord(word), word) {
		return false
	}
	if len(word) == len(name) {
		return true
	}
	if !bytes.Contains(b.text, name) {
		return false
	}
	segment := newSegment(name, false)
	_, ok := segment.find(b.text, 0, startBound|endBound)
	return ok
}

// memberCount is room_member_count: a range of counts, both ends included.
type memberCount struct{ least, most int }

func (c *memberCount) holds(ev *Event) bool {
	return c.least <= ev.room.MemberCount && ev.room.MemberCount <= c.most
}

// senderPermission is sender_notification_permission.
type senderPermission struct{ kind string }

func (c *senderPermission) holds(ev *Event) bool { return ev.room.maySenderNotify(c.kind) }

// noMentions keeps the mention rules from before v1.7 away from events that say whom they mention.
type noMentions struct{}

func (noMentions) holds(ev *Event) bool {
	return ev.root.member("content").member("m.mentions") == nil
}

// threadSubscription is io.element.msc4306.thread_subscription.
type threadSubscription struct{ want ThreadSubscription }

func (c threadSubscription) holds(ev *Event) bool { return ev.user.Thread == c.want }

// relatedMatch is im.nheko.msc3664.related_event_match. Without a pattern the relation alone is enough.
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

// isFallingBack tells whether the event says to reply only for clients that do not know threads.
func (ev *Event) isFallingBack() bool {
	n := ev.root.member("content").member("m.relates_to").member("is_falling_back")
	return n != nil && n.scalar == scalar{shape: shapeBool, number: 1}
}

// memoised is a condition that does not depend on the user: an event decides it once.
type memoised struct {
	slot slots // one
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
