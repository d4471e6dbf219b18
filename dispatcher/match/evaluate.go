package match

import (
	"maps"
	"slices"

	"poked/dispatcher/directory"
	"poked/events"
	"poked/events/pushrule"
)

// decision is that an event notifies a user, and how.
type decision struct {
	member *member
	// outcome is that of the user's rules for all devices. If only devices with rules of
	// their own are notified, it does not notify, or is nil.
	outcome *pushrule.Outcome
	// devices holds the outcomes of single devices' rules, by instance handle, where one
	// of them matched. It is nil for nearly everyone.
	devices map[string]*pushrule.Outcome
}

// first returns the outcome that represents the decision: that for all devices if it
// notifies, else that of the first device that is notified, by instance handle.
func (d *decision) first() *pushrule.Outcome {
	if d.outcome.Notifies() {
		return d.outcome
	}
	for _, handle := range slices.Sorted(maps.Keys(d.devices)) {
		if o := d.devices[handle]; o.Notifies() {
			return o
		}
	}
	return d.outcome
}

// verdict is what the rules of a class decide about an event.
type verdict struct {
	decision pushrule.Decision
	all      *pushrule.Outcome // of everyone in the class, if same
	same     bool
	silent   bool // nobody in the class is notified
}

func newVerdict(key classKey, ev *pushrule.Event) verdict {
	v := verdict{decision: key.rules.Decide(ev)}
	v.all, v.same = v.decision.Same()
	v.silent = v.same && !v.all.Notifies()
	if key.own != nil {
		for _, device := range key.own.Devices {
			d := device.Decide(ev)
			o, same := d.Same()
			v.silent = v.silent && same && !o.Notifies()
		}
	}
	return v
}

// of returns the outcome for one user.
func (v *verdict) of(user pushrule.User) *pushrule.Outcome {
	if v.same {
		return v.all
	}
	return v.decision.For(user)
}

// evaluate evaluates the push rules of everyone whom an event may notify: joined members
// with a pusher, and an invited user. An event that was redacted before it arrived has
// nothing to tell, and notifies nobody. The result is valid until the next call.
func (m *Matcher) evaluate(ev *events.RoomEvent, r *room) []decision {
	if ev.IsRedacted() {
		return nil
	}
	r.audience.refresh(r.members, m.cfg.Directory)
	prepared := pushrule.NewEvent(ev.Raw, r.rulesRoom(ev.Sender))
	m.notified = m.notified[:0]
	if m.judge(&r.audience, prepared) {
		for i := range r.audience.targets {
			if t := &r.audience.targets[i]; !m.verdicts[t.class].silent {
				m.ask(ev, prepared, t, &m.verdicts[t.class])
			}
		}
	}
	m.askInvited(ev, prepared, r)
	clear(m.verdicts) // lets the event be collected
	return m.notified
}

// judge evaluates the rules of each class, and reports whether anybody may be notified at
// all.
func (m *Matcher) judge(a *audience, ev *pushrule.Event) (loud bool) {
	m.verdicts = slices.Grow(m.verdicts[:0], len(a.classes))[:len(a.classes)]
	for i, c := range a.classes {
		if c.size == 0 {
			continue
		}
		m.verdicts[i] = newVerdict(c.classKey, ev)
		loud = loud || !m.verdicts[i].silent
	}
	return loud
}

// askInvited evaluates the rules of a user whom the event invites: an invite notifies, and
// the user is no member yet.
func (m *Matcher) askInvited(ev *events.RoomEvent, prepared *pushrule.Event, r *room) {
	if !ev.IsState || ev.Type != "m.room.member" {
		return
	}
	who := r.members[events.UserID(ev.StateKey)]
	if who == nil || who.membership != "invite" {
		return
	}
	if rules, hasPusher := m.cfg.Directory.Rules(who.id); hasPusher {
		v := newVerdict(keyOf(rules), prepared)
		m.ask(ev, prepared, &target{member: who, rules: rules}, &v)
	}
}

// ask adds a target to notified if the event notifies it.
func (m *Matcher) ask(ev *events.RoomEvent, prepared *pushrule.Event, t *target, v *verdict) {
	if t.id == ev.Sender || t.rules.Ignores(ev.Sender) {
		return
	}
	user := pushrule.User{ID: string(t.id), DisplayName: t.displayName}
	d := decision{member: t.member, outcome: v.of(user)}
	notified := d.outcome.Notifies()
	if t.rules != nil && len(t.rules.Devices) > 0 {
		notified = d.askDevices(m.cfg.Directory.Handles(t.id), t.rules, prepared, user)
	}
	if notified {
		m.notified = append(m.notified, d)
	}
}

// askDevices evaluates the rules of devices that have any and a pusher, and reports whether
// one of the user's pushers is to be poked.
func (d *decision) askDevices(handles []string, rules *directory.UserRules, ev *pushrule.Event, user pushrule.User) (notified bool) {
	for _, handle := range handles {
		o := d.outcome
		if own := rules.Devices[handle]; own != nil {
			if matched := own.Evaluate(ev, user); matched != nil {
				o = matched
				if d.devices == nil {
					d.devices = map[string]*pushrule.Outcome{}
				}
				d.devices[handle] = o
			}
		}
		notified = notified || o.Notifies()
	}
	return notified
}
