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

// evaluator evaluates the push rules of everyone whom an event may notify. One goroutine uses
// it.
type evaluator struct {
	directory *directory.Directory

	// Buffers, reused for each event.
	event    pushrule.Event
	verdicts []verdict
	notified []decision
	// suppressed counts the users with a pusher whom the last event did not notify, by reason.
	suppressed [events.Suppressions]uint64
}

// evaluate evaluates the push rules of joined members with a pusher, and of an invited user.
// An event that was redacted before it arrived has nothing to tell, and notifies nobody. The
// result is valid until the next call.
func (e *evaluator) evaluate(ev *events.RoomEvent, r *room, thread events.EventID) []decision {
	e.notified, e.suppressed = e.notified[:0], [events.Suppressions]uint64{}
	if ev.IsRedacted() {
		e.suppressed[events.SuppressRedacted]++
		return nil
	}
	r.audience.refresh(r.members, e.directory)
	prepared := &e.event
	prepare(prepared, ev, r, thread, e.directory.Offers())
	if e.judge(&r.audience, prepared) {
		for i := range r.audience.targets {
			if t := &r.audience.targets[i]; !e.verdicts[t.class].silent {
				e.suppressed[e.ask(ev, prepared, t, &e.verdicts[t.class])]++
			}
		}
	}
	e.countSilent(&r.audience, ev.Sender)
	e.askInvited(ev, prepared, r)
	clear(e.verdicts) // lets rules be collected
	return e.notified
}

// judge evaluates the rules of each class, and reports whether anybody may be notified at
// all.
func (e *evaluator) judge(a *audience, ev *pushrule.Event) (loud bool) {
	e.verdicts = slices.Grow(e.verdicts[:0], len(a.classes))[:len(a.classes)]
	for i, c := range a.classes {
		if c.size == 0 {
			continue
		}
		e.verdicts[i] = newVerdict(c.classKey, ev)
		loud = loud || !e.verdicts[i].silent
	}
	return loud
}

// countSilent counts the users of the classes of which nobody was notified, without asking
// each of them.
func (e *evaluator) countSilent(a *audience, sender events.UserID) {
	silent := false
	for i, c := range a.classes {
		if c.size > 0 && e.verdicts[i].silent {
			silent = true
			e.suppressed[reasonOf(e.verdicts[i].all)] += uint64(c.size)
		}
	}
	if !silent {
		return
	}
	if t := a.find(sender); t != nil && e.verdicts[t.class].silent {
		e.suppressed[reasonOf(e.verdicts[t.class].all)]--
		e.suppressed[events.SuppressOwnEvent]++
	}
}

// reasonOf returns why an outcome does not notify.
func reasonOf(o *pushrule.Outcome) events.Suppression {
	if o == nil {
		return events.SuppressNoRule
	}
	return events.SuppressMuted
}

// askInvited evaluates the rules of a user whom the event invites: an invite notifies, and
// the user is no member yet.
func (e *evaluator) askInvited(ev *events.RoomEvent, prepared *pushrule.Event, r *room) {
	who := r.invitedBy(ev)
	if who == nil {
		return
	}
	if rules, hasPusher := e.directory.Rules(who.id); hasPusher {
		v := newVerdict(keyOf(rules), prepared)
		e.suppressed[e.ask(ev, prepared, &target{member: who, rules: rules}, &v)]++
	}
}

// invitedBy returns the user whom an event invites that the room includes already, or nil.
func (r *room) invitedBy(ev *events.RoomEvent) *member {
	if !ev.IsState || ev.Type != "m.room.member" {
		return nil
	}
	if who := r.members[events.UserID(ev.StateKey)]; who != nil && who.membership == "invite" {
		return who
	}
	return nil
}

// ask adds a target to notified if the event notifies it, and otherwise returns why not.
func (e *evaluator) ask(ev *events.RoomEvent, prepared *pushrule.Event, t *target, v *verdict) events.Suppression {
	if t.id == ev.Sender {
		return events.SuppressOwnEvent
	}
	user := pushrule.User{ID: string(t.id), DisplayName: t.displayName}
	d := decision{member: t.member, outcome: v.of(user)}
	notified := d.outcome.Notifies()
	if t.rules != nil && len(t.rules.Devices) > 0 {
		notified = d.askDevices(e.directory.Handles(t.id), t.rules, prepared, user)
	}
	switch {
	case !notified:
		return reasonOf(d.outcome)
	case t.rules.Ignores(ev.Sender):
		return events.SuppressIgnored
	}
	e.notified = append(e.notified, d)
	return events.NotSuppressed
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

// prepare makes an event ready for push rules, in its room and in its thread. Who is not known to be
// subscribed to that is not (MSC4306); unless the operator offers the rules of subscriptions
// nothing is known of them.
func prepare(prepared *pushrule.Event, ev *events.RoomEvent, r *room, thread events.EventID, offers pushrule.Offers) {
	prepared.Reset(ev.Text(), r.rulesRoom(ev.Sender))
	prepared.Offer(offers)
	if thread != "" && offers&pushrule.MSC4306 != 0 {
		users := r.subscriptions.threads[thread]
		prepared.InThread(func(user string) bool {
			_, subscribed := users[events.UserID(user)]
			return subscribed
		})
	}
}
