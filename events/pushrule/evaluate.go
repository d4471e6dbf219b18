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
		if ev.failing&r.slots == 0 && r.matches(ev) { // most rules fail by slots, for all users but the first
			return r.outcome
		}
	}
	return nil
}

func (r *rule) matches(ev *Event) bool {
	for _, condition := range r.conditions {
		if !condition.holds(ev) {
			return false
		}
	}
	return true
}
