package pushrule

// Decision is the result of a ruleset for one event and all users: the outcome that does not depend on the user, and
// the rules before it that do. Like its event, it must not be used concurrently.
type Decision struct {
	compiled *Compiled
	event    *Event
	rest     *Outcome        // if no open rule matches
	open     [mostOpen]*rule // rules that match only for some users, in order
	sought   [mostOpen]*node // what the first personal condition of each examines
	count    int             // of open rules; if above mostOpen, they are not listed
}

// mostOpen is how many open rules a decision lists. The predefined rules leave at most one open; beyond this limit
// each user is evaluated on their own.
const mostOpen = 4

// Decide evaluates the rules once for an event; For and Same then return the outcomes of all users with this ruleset.
// Call Event.Relate and Event.Offer before.
func (c *Compiled) Decide(ev *Event) Decision {
	d := Decision{compiled: c, event: ev}
	for i := range c.rules {
		r := &c.rules[i]
		if ev.failing&r.slots != 0 || !ev.offers.include(r.proposal) || !allHold(r.shared, ev) {
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

// Same returns the outcome that all users but the sender get, which is nil if no rule matches. same is false if it
// depends on the user.
func (d *Decision) Same() (o *Outcome, same bool) { return d.rest, d.count == 0 }

// For returns the same outcome as Evaluate for one user, but evaluates only the rules that depend on the user.
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

// seek returns what the rule's first personal condition examines; ok is false if one of its personal conditions fails
// for everybody.
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
