package match

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"poked/dispatcher/directory"
	"poked/events"
	"poked/events/pushgateway"
	"poked/events/pushrule"
	"poked/events/roomstore"
	"poked/events/stream"
)

// Explained is what match decides about a room event, decided again for people who ask: with
// the room and the push rules as they were at the event, and with pushers and what the
// operator offers as they are now.
type Explained struct {
	Event events.RoomEvent
	// Suppressed is why the event notifies nobody, whatever the rules say.
	Suppressed events.Suppression
	FirstSeq   uint64 // in ROOMS, of the event's first publication, if it is repeated
	Known      bool   // the room's m.room.create was known
	Name       string // of the room, "" if it has none
	Joined     int    // members
	Thread     events.EventID
	Users      []Explanation // by user id

	offers pushrule.Offers // proposals whose rules everyone has
}

// Explanation is what match decides about an event for one user.
type Explanation struct {
	UserID     events.UserID
	Membership string             // in the room, at the event; "" if there is none
	Suppressed events.Suppression // NotSuppressed if the event notifies the user
	Ignores    bool               // the user ignores the sender
	Outcome    *pushrule.Outcome  // of the rule for all devices that matched, or nil
	// Devices holds the outcomes of rules that single devices have, by instance handle.
	Devices map[string]*pushrule.Outcome
	Rules   []pushrule.Explanation // each rule for all devices, in order

	Pushers        []events.Pusher // also disabled ones
	PushersChanged time.Time       // zero if the user never had pushers
	RulesChanged   time.Time       // after the event, if the rules of then are not kept any more
}

// explainAtOnce is how many users are looked up at the same time.
const explainAtOnce = 16

// Explain decides about a room event again. It explains one user, or with "" everyone of the
// room who has, or had, a pusher or push rules of their own. It reads what ROOMS holds of the
// room, and is for people who ask.
func Explain(ctx context.Context, conn *stream.Conn, logged *roomstore.LoggedEvent, only events.UserID) (*Explained, error) {
	ev, err := events.ParseMarked(logged.Subject, logged.Data, logged.Superseded)
	if err != nil {
		return nil, fmt.Errorf("read room event: %w", err)
	}
	store := roomstore.New(conn)
	rooms, err := newRooms(store, 1, 0)
	if err != nil {
		return nil, err
	}
	r, err := rooms.before(ctx, &ev, logged.Seq)
	if err != nil {
		return nil, err
	}
	x := &Explained{Event: ev}
	if err := x.look(ctx, store, r, logged); err != nil {
		return nil, err
	}
	if !ev.IsState || logged.Subject == ev.Subject() {
		r.fold(&ev)
	}
	x.Known, x.Name, x.Joined = r.version != "", r.title(), r.joined
	asked := []events.UserID{only}
	if only == "" {
		asked = slices.Collect(maps.Keys(r.members))
	}
	return x, x.ask(ctx, conn, r, logged.Time, asked, only != "")
}

// look finds out whether the event was published before, and to which thread it belongs.
func (x *Explained) look(ctx context.Context, store *roomstore.Store, r *room, logged *roomstore.LoggedEvent) error {
	a, err := newArchive(store)
	if err != nil {
		return err
	}
	if err := a.learn(ctx, r.id, logged.Seq, func(*pastRoom) bool { return false }); err != nil {
		return err
	}
	x.Thread = placeOf(x.Event.Content, func(id events.EventID) place {
		_, in, _ := a.find(r.id, id)
		return in
	}).root
	before, _, found := a.find(r.id, x.Event.EventID)
	switch {
	case logged.Historical:
		x.Suppressed = events.SuppressPast
	case found && !before.past:
		x.Suppressed, x.FirstSeq = events.SuppressRepeated, before.seq
	case x.Event.IsRedacted():
		x.Suppressed = events.SuppressRedacted
	}
	return nil
}

// ask explains the decision for each of these users. Unless all were asked for by name, it
// leaves out those of whom poked knows nothing.
func (x *Explained) ask(ctx context.Context, conn *stream.Conn, r *room, at time.Time, asked []events.UserID, byName bool) error {
	var err error
	if x.offers, err = conn.OfferedRules(ctx); err != nil {
		return err //nolint:wrapcheck // the error names what was read
	}
	found := make([]*Explanation, len(asked))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(explainAtOnce)
	for i, user := range asked {
		group.Go(func() error {
			pushers, err := conn.PushersOfUser(ctx, user)
			if err != nil {
				return err //nolint:wrapcheck // the error names what was read
			}
			rules, err := conn.PushRulesAt(ctx, user, at)
			if err != nil {
				return err //nolint:wrapcheck // the error names what was read
			}
			if !byName && pushers.At.IsZero() && rules.StoredAt.IsZero() {
				return nil
			}
			found[i], err = x.explain(r, &pushers, &rules.UserPushRules)
			if err == nil {
				found[i].RulesChanged = rules.Later
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err //nolint:wrapcheck // the error names what was read
	}
	for _, e := range found {
		if e != nil {
			x.Users = append(x.Users, *e)
		}
	}
	slices.SortFunc(x.Users, func(a, b Explanation) int { return cmp.Compare(a.UserID, b.UserID) })
	return nil
}

// explain explains the decision for one user, by the code that decides.
func (x *Explained) explain(r *room, pushers *events.UserPushers, set *events.UserPushRules) (*Explanation, error) {
	policy, err := pushgateway.NewPolicy(nil, nil, true)
	if err != nil {
		return nil, fmt.Errorf("make policy: %w", err)
	}
	dir := directory.New(policy, slog.New(slog.DiscardHandler), 1, func(events.UserID) {})
	dir.Apply(*pushers)
	dir.ApplyRules(*set)
	e := &Explanation{
		UserID: pushers.UserID, Membership: r.membership(pushers.UserID), Suppressed: x.Suppressed,
		Pushers: pushers.Pushers, PushersChanged: pushers.At,
	}
	who := r.members[e.UserID]
	if who == nil {
		who = &member{id: e.UserID}
	}
	rules, hasPusher := dir.Rules(e.UserID)
	e.Ignores = rules.Ignores(x.Event.Sender)

	prepared := new(pushrule.Event)
	prepare(prepared, &x.Event, r, x.Thread, x.offers)
	asked := evaluator{directory: dir}
	t := &target{member: who, rules: rules}
	v := newVerdict(keyOf(rules), prepared)
	decided := asked.ask(&x.Event, prepared, t, &v)
	user := pushrule.User{ID: string(e.UserID), DisplayName: who.displayName}
	e.Outcome = v.of(user)
	if len(asked.notified) > 0 {
		e.Devices = asked.notified[0].devices
	}
	switch {
	case x.Suppressed != events.NotSuppressed:
	case e.UserID == x.Event.Sender:
		e.Suppressed = events.SuppressOwnEvent
	case who.membership != "join" && r.invitedBy(&x.Event) != who:
		e.Suppressed = events.SuppressNotJoined
	case !hasPusher:
		e.Suppressed = events.SuppressNoPusher
	default:
		e.Suppressed = decided
	}
	global := set.Global()
	e.Rules = pushrule.Explain(&global, prepared, user)
	return e, nil
}
