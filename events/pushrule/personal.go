package pushrule

import "bytes"

// personal is a condition that depends on the user. The value that it examines in the event is the same for all
// users.
type personal interface {
	condition
	// seek finds the value that the condition examines, or nil if it examines none. ok is false if the condition
	// fails for everybody.
	seek(ev *Event) (at *node, ok bool)
	// fits reports whether the condition holds for the event's current user, given the value that seek found.
	fits(ev *Event, at *node) bool
}

// holdsFor evaluates a personal condition from scratch.
func holdsFor(c personal, ev *Event) bool {
	at, ok := c.seek(ev)
	return ok && c.fits(ev, at)
}

func allHoldFor(conditions []personal, ev *Event) bool {
	for _, condition := range conditions {
		if !condition.holds(ev) {
			return false
		}
	}
	return true
}

// ownIDMatch is event_match with the user's own id as its pattern.
type ownIDMatch struct{ path []string }

func (c *ownIDMatch) holds(ev *Event) bool { return holdsFor(c, ev) }

func (c *ownIDMatch) seek(ev *Event) (*node, bool) {
	n := ev.textAt(c.path)
	return n, n != nil
}

func (c *ownIDMatch) fits(ev *Event, at *node) bool {
	if at.text == ev.user.ID {
		return true
	}
	ev.scratch = appendFold(ev.scratch[:0], ev.user.ID)
	return bytes.Equal(ev.fold(at), ev.scratch)
}

// containsOwnID is event_property_contains with the user's own id as its value.
type containsOwnID struct{ path []string }

func (c *containsOwnID) holds(ev *Event) bool { return holdsFor(c, ev) }

func (c *containsOwnID) seek(ev *Event) (*node, bool) {
	n := ev.at(c.path)
	return n, n.hasTexts()
}

func (c *containsOwnID) fits(ev *Event, at *node) bool {
	return at.elements.has(scalar{shape: shapeString, text: ev.user.ID})
}

// containsDisplayName is the historical contains_display_name: the name is literal text, not a pattern.
type containsDisplayName struct{}

func (c containsDisplayName) holds(ev *Event) bool { return holdsFor(c, ev) }

func (containsDisplayName) seek(ev *Event) (*node, bool) {
	body := ev.bodyText()
	return nil, body != nil && len(body.text) > 0
}

func (containsDisplayName) fits(ev *Event, _ *node) bool {
	if ev.user.DisplayName == "" {
		return false
	}
	ev.scratch = appendFold(ev.scratch[:0], ev.user.DisplayName)
	return ev.body.hasName(ev.scratch)
}

// hasName reports whether the body contains a folded, non-empty name between word boundaries.
func (b *body) hasName(name []byte) bool {
	var rarest word
	for start, end := nextWord(name, 0); start < len(name); start, end = nextWord(name, end) {
		w := newWord(name, start, end)
		if !b.words().has(w) {
			return false
		}
		rarest = b.words().rarer(rarest, w)
	}
	if rarest.text != nil && len(name) < longLiteral {
		return b.words().hasPhrase(name, rarest)
	}
	if !bytes.Contains(b.text, name) {
		return false
	}
	segment := newSegment(name, false)
	_, ok := segment.find(b.text, 0, startBound|endBound)
	return ok
}

// recipientPermission is org.matrix.msc4506.recipient_permission.
type recipientPermission struct{ action string }

func (c recipientPermission) holds(ev *Event) bool { return ev.room.mayRecipient(ev.user.ID, c.action) }

func (recipientPermission) seek(*Event) (*node, bool) { return nil, true }

func (c recipientPermission) fits(ev *Event, _ *node) bool { return c.holds(ev) }

// threadSubscription is io.element.msc4306.thread_subscription.
type threadSubscription struct{ want bool }

func (c threadSubscription) holds(ev *Event) bool { return holdsFor(c, ev) }

func (threadSubscription) seek(ev *Event) (*node, bool) { return nil, ev.subscribed != nil }

func (c threadSubscription) fits(ev *Event, _ *node) bool { return ev.subscribed(ev.user.ID) == c.want }
