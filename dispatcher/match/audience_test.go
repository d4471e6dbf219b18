package match

import (
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"poked/dispatcher/directory"
	"poked/events"
	"poked/events/eventstest"
	"poked/events/pushgateway"
	"poked/events/pushrule"
	"poked/testdata"
)

// population is some users who change their rules and pushers, and the directory that
// follows them.
type population struct {
	t       testing.TB
	dice    *rand.Rand
	dir     *directory.Directory
	users   []events.UserID
	rules   map[events.UserID]events.UserPushRules
	pushers map[events.UserID][]events.Pusher
	own     map[events.UserID]map[string]*pushrule.Compiled // by handle; "" for all devices
}

func newPopulation(t testing.TB, seed uint64, users []events.UserID) *population {
	t.Helper()
	policy, err := pushgateway.NewPolicy([]string{"gw.test"}, nil, true)
	if err != nil {
		t.Fatal(err)
	}
	return &population{
		t: t, dice: rand.New(rand.NewPCG(seed, 0)), dir: directory.New(policy, slog.New(slog.DiscardHandler), 1, func(events.UserID) {}),
		users: users, rules: map[events.UserID]events.UserPushRules{}, pushers: map[events.UserID][]events.Pusher{},
		own: map[events.UserID]map[string]*pushrule.Compiled{},
	}
}

// change changes the pushers or rules of one user.
func (w *population) change() {
	user := w.users[w.dice.IntN(len(w.users))]
	if w.dice.IntN(2) == 0 {
		var pushers []events.Pusher
		for i := range w.dice.IntN(3) {
			p := eventstest.SomePusher(fmt.Sprint(user, i))
			p.InstanceHandle = []string{"", "phone", "desk"}[w.dice.IntN(3)]
			p.Disabled = w.dice.IntN(4) == 0
			pushers = append(pushers, p)
		}
		w.pushers[user] = pushers
		w.dir.Apply(events.UserPushers{UserID: user, Pushers: pushers})
		return
	}
	set := events.UserPushRules{UserID: user}
	if w.dice.IntN(3) > 0 {
		set.Changes = w.someChanges()
	}
	if w.dice.IntN(8) == 0 {
		published := pushrule.Predefined(string(user))
		set.Published = &published
	}
	if w.dice.IntN(3) == 0 {
		set.IgnoredUsers = []events.UserID{w.users[w.dice.IntN(len(w.users))], w.users[w.dice.IntN(len(w.users))]}
	}
	if w.dice.IntN(3) == 0 {
		own := w.someChanges()
		set.Devices = map[string]pushrule.Ruleset{"phone": {Override: own.Override, Content: own.Content}}
	}
	w.rules[user] = set
	delete(w.own, user)
	w.dir.ApplyRules(set)
}

func (w *population) someChanges() (c pushrule.Changes) {
	word := []string{"the", "you", "a*", "hello"}[w.dice.IntN(4)]
	loud := []pushrule.Action{`"notify"`, `{"set_tweak":"sound","value":"ping"}`}
	switch w.dice.IntN(4) {
	case 0:
		c.Content = []pushrule.Rule{{ID: "word", Enabled: true, Pattern: &word, Actions: loud}}
	case 1:
		c.Override = []pushrule.Rule{{ID: "quiet", Enabled: true, Conditions: []pushrule.Condition{`{"kind":"event_match","key":"type","pattern":"m.room.message"}`}}}
	case 2:
		c.Override = []pushrule.Rule{{ID: "named", Enabled: true, Conditions: []pushrule.Condition{`{"kind":"contains_display_name"}`}, Actions: loud}}
	case 3:
		off := false
		c.Predefined = map[string]pushrule.Change{".m.rule.message": {Enabled: &off}, ".m.rule.reaction": {Actions: loud}}
	}
	return c
}

// compiled returns a user's rules, compiled for this user alone.
func (w *population) compiled(id events.UserID) map[string]*pushrule.Compiled {
	if w.own[id] == nil {
		set := w.rules[id]
		set.UserID = id
		global := set.Global()
		w.own[id] = map[string]*pushrule.Compiled{"": pushrule.Compile(&global, string(id))}
		for handle, rules := range set.Devices {
			w.own[id][handle] = pushrule.Compile(&rules, string(id))
		}
	}
	return w.own[id]
}

// expected returns as text what each of a user's pushers must receive of an event, by rules
// that are compiled for this user and evaluated for each pusher alone.
func (w *population) expected(ev *events.RoomEvent, r *room, id events.UserID) string {
	if id == ev.Sender || slices.Contains(w.rules[id].IgnoredUsers, ev.Sender) {
		return ""
	}
	ask := func(handle string) *pushrule.Outcome {
		rules := w.compiled(id)[handle]
		if rules == nil {
			return nil
		}
		prepared := pushrule.NewEvent(ev.Raw, r.rulesRoom(ev.Sender))
		return rules.Evaluate(prepared, pushrule.User{ID: string(id), DisplayName: r.displayName(id)})
	}
	text := ""
	for _, p := range w.pushers[id] {
		outcome := ask(p.InstanceHandle)
		if outcome == nil {
			outcome = ask("")
		}
		if !p.Disabled && outcome.Notifies() {
			text += fmt.Sprintf(" %s:%s%s", p.Pushkey, outcome.RuleID, outcome.Tweaks())
		}
	}
	return text
}

// decided returns the same for a decision of the matcher.
func (w *population) decided(d *decision) string {
	text := ""
	for _, p := range w.pushers[d.member.id] {
		outcome := d.outcome
		if o := d.devices[p.InstanceHandle]; o != nil {
			outcome = o
		}
		if !p.Disabled && outcome.Notifies() {
			text += fmt.Sprintf(" %s:%s%s", p.Pushkey, outcome.RuleID, outcome.Tweaks())
		}
	}
	return text
}

// Users join, leave, and change rules or pushers between any two of the recorded events:
// audiences and classes decide as each user's own rules would, in the order of user ids,
// also for users in a partition that another dispatcher owns.
func TestClassesDecideAsEachUserAlone(t *testing.T) {
	eventstest.Long(t)
	recorded := recordedEvents(t)
	for seed, busy := range []int{1, 40, 40} { // changes after an event, at most
		w := newPopulation(t, uint64(seed), members(recorded))
		if seed == 2 {
			w.dir.Lose(0)
		}
		m, rooms := &Matcher{evaluator: evaluator{directory: w.dir}}, map[events.RoomID]*room{}
		notified := 0
		for i := range recorded {
			ev := &recorded[i]
			r := rooms[ev.RoomID]
			if r == nil {
				r = newRoom(ev.RoomID)
				rooms[ev.RoomID] = r
			}
			if ev.IsState {
				r.fold(ev)
			}
			want := map[events.UserID]string{}
			for id, who := range r.members {
				invited := ev.Type == "m.room.member" && ev.StateKey == string(id) && who.membership == "invite"
				if text := w.expected(ev, r, id); text != "" && (who.membership == "join" || invited) {
					want[id] = text
				}
			}
			got, order := map[events.UserID]string{}, []events.UserID{}
			for _, d := range m.evaluator.evaluate(ev, r, "") {
				got[d.member.id] = w.decided(&d)
				if d.member.membership == "join" {
					order = append(order, d.member.id)
				}
			}
			if !maps.Equal(got, want) {
				t.Fatalf("event %d %s:\n got %v\nwant %v", i, ev.Raw, got, want)
			}
			if !slices.IsSorted(order) {
				t.Fatalf("event %d: not by user id: %v", i, order)
			}
			w.checkSuppressed(t, ev, r, &m.evaluator, len(got))
			notified += len(got)
			for range w.dice.IntN(busy + 1) {
				w.change()
			}
		}
		if notified < 300 {
			t.Errorf("only %d notifications, which proves little", notified)
		}
	}
}

// checkSuppressed checks that everyone with a pusher whom an event may notify was notified or
// counted with the reason why not, once.
func (w *population) checkSuppressed(t *testing.T, ev *events.RoomEvent, r *room, e *evaluator, notified int) {
	t.Helper()
	var want [events.Suppressions]uint64
	asked := 0
	for id, who := range r.members {
		rules, hasPusher := w.dir.Rules(id)
		invited := r.invitedBy(ev) == who
		if !hasPusher || who.membership != "join" && !invited {
			continue
		}
		asked++
		switch {
		case id == ev.Sender:
			want[events.SuppressOwnEvent]++
		case rules.Ignores(ev.Sender):
			want[events.SuppressIgnored]++
		}
	}
	got, all := e.suppressed, notified
	for reason := events.NotSuppressed + 1; reason < events.Suppressions; reason++ {
		all += int(got[reason])
	}
	if all != asked || got[events.SuppressOwnEvent] != want[events.SuppressOwnEvent] || got[events.SuppressIgnored] > want[events.SuppressIgnored] {
		t.Fatalf("%d asked, %d notified, suppressed %v, want %v: %s", asked, notified, got, want, ev.Raw)
	}
}

func recordedEvents(t testing.TB) (all []events.RoomEvent) {
	t.Helper()
	for line := range strings.Lines(testdata.Events()) {
		ev, err := events.ParseRoomEvent([]byte(line))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, ev)
	}
	return all
}

// members returns every user who is ever in a room.
func members(all []events.RoomEvent) (ids []events.UserID) {
	for i := range all {
		if all[i].Type == "m.room.member" {
			ids = append(ids, events.UserID(all[i].StateKey))
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// A change of a user who is no member updates nobody, a change of a member updates only
// that member, and a class without targets is dropped.
func TestAudienceFollowsChangeByChange(t *testing.T) {
	w := newPopulation(t, 1, nil)
	r := newRoom("!r:x")
	for i := range 100 {
		id := fmt.Sprintf("@%03d:x", i)
		r.fold(memberEvent(id, "join", ""))
		w.dir.Apply(events.UserPushers{UserID: events.UserID(id), Pushers: []events.Pusher{eventstest.SomePusher(id)}})
	}
	a := &r.audience
	a.refresh(r.members, w.dir)
	marked := a.targets[50].member
	a.targets[50].member = &member{id: marked.id} // would be replaced if everybody were looked up
	own := w.someChanges()
	for i := range 50 {
		w.dir.Apply(events.UserPushers{UserID: events.UserID(fmt.Sprint("@elsewhere", i)), Pushers: []events.Pusher{eventstest.SomePusher("k")}})
	}
	w.dir.ApplyRules(events.UserPushRules{UserID: "@007:x", Changes: own})
	r.fold(memberEvent("@008:x", "leave", ""))
	a.refresh(r.members, w.dir)
	if a.targets[49].member == marked || len(a.targets) != 99 || len(a.classOf) != 2 || a.targets[7].rules == nil {
		t.Errorf("%d targets in %d classes; everybody was looked up: %t", len(a.targets), len(a.classOf), a.targets[49].member == marked)
	}
	w.dir.ApplyRules(events.UserPushRules{UserID: "@007:x"})
	a.refresh(r.members, w.dir)
	_, withRules := w.dir.Sizes()
	if len(a.classOf) != 1 || len(a.free) != 1 || withRules != 0 {
		t.Errorf("%d classes, %d indexes free, %d users with rules", len(a.classOf), len(a.free), withRules)
	}
	remembered := func() (all bool) {
		w.dir.Read(func(v directory.View) { all = v.Remembers(a.seen) })
		return all
	}
	for i := 0; remembered(); i++ {
		w.dir.Apply(events.UserPushers{UserID: events.UserID(fmt.Sprint("@more", i)), Pushers: []events.Pusher{eventstest.SomePusher("k")}})
	}
	w.dir.Apply(events.UserPushers{UserID: "@009:x"})
	a.refresh(r.members, w.dir)
	if len(a.targets) != 98 || a.targets[48].member != marked {
		t.Errorf("%d targets after too many changes to remember", len(a.targets))
	}
}
