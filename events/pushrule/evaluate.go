package pushrule

// Evaluate returns what the first rule that matches says to do for the user, or nil if none matches or the user
// sent the event.
func (c *Compiled) Evaluate(ev *Event, user User) *Outcome {
	if user.ID == ev.sender && ev.sender != "" {
		return nil
	}
	ev.user = user
	for i := range c.rules {
		r := &c.rules[i]
		// Most rules fail by slots, for all users but the first.
		if ev.failing&r.slots == 0 && allHold(r.shared, ev) && allHoldFor(r.personal, ev) {
			return r.outcome
		}
	}
	return nil
}

func allHold(conditions []condition, ev *Event) bool {
	for _, condition := range conditions {
		if !condition.holds(ev) {
			return false
		}
	}
	return true
}
