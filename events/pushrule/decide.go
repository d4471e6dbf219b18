package pushrule

// Decision is what a ruleset makes of an event for all users at once: the rule that stands for everyone, and those
// before it that ask who the user is. It belongs to its event, and like the event to one goroutine at a time.
type Decision struct {
	compiled *Compiled
	event    *Event
	rest     *Outcome        // for whom no open rule matches
	open     [mostOpen]*rule // rules that may match for some, in order
	sought   [mostOpen]*node // by the first personal condition of each
	count    int             // of open rules; more than mostOpen: they are not listed
}

// mostOpen is how many open rules a decision lists. The predefined rules leave one open at most; with more than
// this, users are evaluated one by one.
const mostOpen = 4

// Decide walks the rules once for an event; For and Same then give the outcomes of all users whom the ruleset is
// for. Related events must have been set before (Event.Relate).
func (c *Compiled) Decide(ev *Event) Decision {
	d := Decision{compiled: c, event: ev}
	for i := range c.rules {
		r := &c.rules[i]
		if ev.failing&r.slots != 0 || !allHold(r.shared, ev) {
			continue
		}
		if len(r.personal) == 0 {
			d.rest = r.outcome
			break
		}
		first, ok := r.seek(ev)
		if !ok {
			continue
		}
		if d.count < mostOpen {
			d.open[d.count], d.sought[d.count] = r, first
		}
		d.count++
	}
	return d
}

// Same returns the outcome that every user but the sender gets, nil if that is none, and whether they do all get the
// same, so that nobody has to be looked at.
func (d *Decision) Same() (o *Outcome, same bool) { return d.rest, d.count == 0 }

// For returns the outcome for one user: what Evaluate returns, at the cost of looking only at the rules that depend
// on the user.
func (d *Decision) For(user User) *Outcome {
	ev := d.event
	switch {
	case user.ID == ev.sender && ev.sender != "":
		return nil
	case d.count == 0:
		return d.rest
	case d.count > mostOpen:
		return d.compiled.Evaluate(ev, user)
	}
	ev.user = user
	for i, r := range d.open[:d.count] {
		if r.personal[0].fits(ev, d.sought[i]) && allHoldFor(r.personal[1:], ev) {
			return r.outcome
		}
	}
	return d.rest
}

// seek returns what the rule's first personal condition looks at; ok is false if one of them fails for everybody.
func (r *rule) seek(ev *Event) (first *node, ok bool) {
	for i, condition := range r.personal {
		at, ok := condition.seek(ev)
		if !ok {
			return nil, false
		}
		if i == 0 {
			first = at
		}
	}
	return first, true
}
