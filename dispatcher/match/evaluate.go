package match

import (
	"maps"
	"slices"

	"poked/dispatcher/directory"
	"poked/events"
	"poked/events/pushrule"
)

// decision is that an event notifies a user.
type decision struct {
	member *member
	// outcome is what the user's rules say for all devices; if only devices with
	// rules of their own are notified, it does not notify, or is nil.
	outcome *pushrule.Outcome
	// devices is what the rules of single devices say, by instance handle, where
	// one of them matched. Nil for nearly everyone.
	devices map[string]*pushrule.Outcome
}

// first returns the outcome that stands for the whole decision: that for all
// devices if it notifies, else that of the first device which is notified.
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

// verdict is what the rules of a class say of an event.
type verdict struct {
	decision pushrule.Decision
	all      *pushrule.Outcome // everybody's, if same
	same     bool
	silent   bool // nobody is notified, whoever they are
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

// of returns what the rules say to one user.
func (v *verdict) of(user pushrule.User) *pushrule.Outcome {
	if v.same {
		return v.all
	}
	return v.decision.For(user)
}

// evaluate asks the push rules for everyone who could be notified: joined
// members with a pusher, and who is invited. The result is good until the next
// call.
func (m *Matcher) evaluate(ev *events.RoomEvent, r *room) []decision {
	r.audience.follow(r.members, m.cfg.Directory)
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
	clear(m.verdicts) // what was found out about the event need not be kept until the next one
	return m.notified
}

// judge asks the rules of each class, and returns whether anybody may be
// notified at all.
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

// askInvited asks for who is invited: they have the right to know of it, and are
// no member yet.
func (m *Matcher) askInvited(ev *events.RoomEvent, prepared *pushrule.Event, r *room) {
	if !ev.IsState || ev.Type != "m.room.member" {
		return
	}
	who := r.members[events.UserID(ev.StateKey)]
	if who == nil || who.membership != "invite" {
		return
	}
	if rules, can := m.cfg.Directory.Rules(who.id); can {
		v := newVerdict(keyOf(rules), prepared)
		m.ask(ev, prepared, &target{member: who, rules: rules}, &v)
	}
}

// ask adds to notified who is.
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

// askDevices asks the rules of the devices that have any and a pusher, and
// returns whether one of the user's pushers is to be told.
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
