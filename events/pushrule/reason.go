package pushrule

import "fmt"

// reason returns why a condition that can hold does not hold for the explained event and user.
func (x *explainer) reason(c condition) string {
	ev := x.ev
	switch c := c.(type) {
	case *textMatch:
		return noMatch(ev.at(c.path))
	case *ownIDMatch:
		return noMatch(ev.at(c.path))
	case *bodyMatch:
		return notInBody(ev)
	case containsDisplayName:
		if ev.user.DisplayName == "" {
			return "the user has no display name"
		}
		return notInBody(ev)
	case *propertyIs:
		if ev.at(c.path) == nil {
			return noProperty
		}
		return "another value"
	case *propertyContains:
		return notContained(ev.at(c.path))
	case *containsOwnID:
		return notContained(ev.at(c.path))
	}
	return x.reasonOutside(c)
}

// reasonOutside is reason for conditions that do not depend on a property of the event.
func (x *explainer) reasonOutside(c condition) string {
	ev := x.ev
	switch c := c.(type) {
	case *inRoom:
		return "another room"
	case *fromSender:
		return "another sender"
	case *memberCount:
		return fmt.Sprintf("the room has %d members", ev.room.MemberCount)
	case *senderPermission:
		return fmt.Sprintf("the sender has power level %d and needs %d", ev.room.SenderLevel, ev.room.neededToNotify(c.kind))
	case recipientPermission:
		if ev.room.Levels == nil {
			return "power levels unknown"
		}
		level, _ := ev.room.LevelOf(ev.user.ID)
		needed, _ := ev.room.Levels.needed(c.action)
		return fmt.Sprintf("the user has power level %d and needs %d", level, needed)
	case noMentions:
		return "event has m.mentions, which this rule is not for"
	case threadSubscription:
		switch {
		case ev.subscribed == nil:
			return "not in a thread, or subscriptions are not known"
		case ev.subscribed(ev.user.ID):
			return "the user is subscribed"
		}
		return "the user is not subscribed"
	case *relatedMatch:
		return c.reason(ev)
	}
	return "missing pattern" // of a content rule: every other condition is handled above
}

func (c *relatedMatch) reason(ev *Event) string {
	switch {
	case ev.related[c.relType] == nil:
		return "no related event known"
	case c.match != nil && !c.match.holds(ev.related[c.relType]):
		return "related event does not match"
	}
	return "the relation is a fallback"
}

const noProperty = "no such property"

// noMatch returns why a pattern does not match a value.
func noMatch(n *node) string {
	switch {
	case n == nil:
		return noProperty
	case n.shape != shapeString:
		return "not a string"
	}
	return "no match"
}

// notInBody returns why a text is not found in content.body.
func notInBody(ev *Event) string {
	if body := ev.contentMember("body"); body == nil || body.shape != shapeString {
		return noMatch(body)
	}
	return "not found"
}

func notContained(n *node) string {
	switch {
	case n == nil:
		return noProperty
	case n.shape != shapeArray:
		return "not an array"
	}
	return "not in the array"
}
