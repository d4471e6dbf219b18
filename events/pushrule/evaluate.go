package pushrule

// Evaluate returns the outcome of the first rule that matches for the user, or nil if none matches or the user sent
// the event.
func (c *Compiled) Evaluate(ev *Event, user User) *Outcome {
	if user.ID == ev.sender && ev.sender != "" {
		return nil
	}
	ev.user = user
	for i := range c.rules {
		r := &c.rules[i]
		// Most rules fail here, for every user after the first.
		if ev.failing&r.slots == 0 && ev.offers.include(r.proposal) && allHold(r.shared, ev) && allHoldFor(r.personal, ev) {
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
