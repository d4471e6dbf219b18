package trace

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"time"

	"poked/dispatcher/match"
	"poked/dispatcher/poke"
	"poked/events"
	"poked/events/operator"
	"poked/events/owner"
	"poked/events/stream"
)

// Fate is what became of an event at one pusher. The set is closed.
type Fate string

// The fates.
const (
	FateNone       Fate = "not_notified" // the event does not notify the user, or not this device
	FateDisabled   Fate = "disabled"     // the pusher is disabled
	FateInactive   Fate = "inactive"     // a browser that has not acknowledged that pushes reach it
	FateDelivered  Fate = "delivered"
	FateRejected   Fate = "rejected"    // the gateway rejected the pushkey, and the pusher was removed
	FateRetired    Fate = "retired"     // the gateway was gone for long, and the pusher was removed
	FateDead       Fate = "dead_letter" // given up, with a reason
	FateWaiting    Fate = "waiting"     // tried again, or held back
	FateRead       Fate = "read_first"  // read before it could be delivered
	FateRedacted   Fate = "redacted_first"
	FatePassedOver Fate = "passed_over"    // only a newer one of the room was sent
	FateRingOver   Fate = "ring_over"      // it was a call, and over before it could be delivered
	FateQuiet      Fate = "do_not_disturb" // the user wanted no pokes about the room
	FateUnknown    Fate = "unknown"        // no record of it is left
)

// Pusher is what became of the event at one pusher.
type Pusher struct {
	Pusher   events.PusherID     `json:"pusher"`
	AppID    string              `json:"app_id"`
	App      string              `json:"app,omitempty"`    // display names, as the client set them
	Device   string              `json:"device,omitempty"` //
	Gateway  string              `json:"gateway,omitempty"`
	Gone     bool                `json:"gone,omitempty"` // the pusher was removed since
	Fate     Fate                `json:"fate"`
	Newer    events.EventID      `json:"newer,omitempty"` // what was sent instead, if it was passed over
	Attempts []Attempt           `json:"attempts"`
	Letter   *Letter             `json:"dead_letter,omitempty"`
	State    *events.PusherState `json:"state,omitempty"` // now, if a dispatcher answered
}

// Attempt is one try to deliver the poke.
type Attempt struct {
	At      time.Time `json:"at"`
	Outcome string    `json:"outcome"`
	Class   string    `json:"class"`
	Status  int       `json:"http_status,omitempty"`
	Attempt int       `json:"attempt"`
	TookMS  float64   `json:"took_ms"`
}

// evidence is what is known of a user's pokes since the event.
type evidence struct {
	attempts map[events.PusherID][]events.Attempt // of the event
	later    map[events.PusherID]events.Attempt   // the first delivery of a later event of the room
	letters  map[events.PusherID]*Letter
	states   map[events.PusherID]events.PusherState
}

// follow finds out what became of the event at each of the user's pushers.
func (u *User) follow(ctx context.Context, conn *stream.Conn, t *Trace, x *match.Explanation, known *roomRecords) error {
	found, err := gather(ctx, conn, u.UserID, t, known)
	if err != nil {
		return err
	}
	if u.Unread, err = owner.NewClient(conn).IsUnread(ctx, u.UserID, t.RoomID, t.EventID); err != nil {
		u.Unread = false // no dispatcher answers: the rest of the trace holds all the same
	}
	for i := range x.Pushers {
		p := pusherOf(u.UserID, &x.Pushers[i])
		found.apply(&p)
		p.Fate = u.fate(t, &x.Pushers[i], &p, found)
		u.Pushers = append(u.Pushers, p)
	}
	for id, attempts := range found.attempts {
		if !slices.ContainsFunc(u.Pushers, func(p Pusher) bool { return p.Pusher == id }) {
			p := Pusher{Pusher: id, AppID: attempts[0].AppID, Gone: true}
			found.apply(&p)
			p.Fate = u.fate(t, &events.Pusher{}, &p, found)
			u.Pushers = append(u.Pushers, p)
		}
	}
	slices.SortFunc(u.Pushers, func(a, b Pusher) int { return cmp.Or(cmp.Compare(a.AppID, b.AppID), cmp.Compare(a.Pusher, b.Pusher)) })
	return nil
}

func pusherOf(user events.UserID, p *events.Pusher) Pusher {
	var data struct {
		URL string `json:"url"`
	}
	_ = json.Unmarshal(p.Data, &data) // the registry has checked it
	gateway := ""
	if at, err := url.Parse(data.URL); err == nil && at.Host != "" {
		gateway = at.Scheme + "://" + at.Host
	}
	return Pusher{
		Pusher: events.NewPusherID(user, p.AppID, p.Pushkey), AppID: p.AppID, App: p.AppDisplayName, Device: p.DeviceDisplayName, Gateway: gateway,
	}
}

// roomRecords is what is read once for all users of a trace.
type roomRecords struct {
	only events.UserID // the only user of the trace, or ""
	// attempts holds, by partition of users, the attempts to deliver events of the traced
	// event's room since then.
	attempts map[int][]events.Attempt
	// letters holds the dead letters of the event's pokes. It is nil before they are read.
	letters map[events.UserID]map[events.PusherID]*Letter
}

// lettersOf returns the dead letters of the event's pokes for a user.
func (r *roomRecords) lettersOf(ctx context.Context, conn *stream.Conn, user events.UserID, t *Trace) (map[events.PusherID]*Letter, error) {
	if r.letters != nil {
		return r.letters[user], nil
	}
	found := map[events.UserID]map[events.PusherID]*Letter{}
	for letter, err := range operator.NewClient(conn).DeadLetters(ctx, operator.DeadFilter{User: r.only, Since: t.At}) {
		if err != nil {
			return nil, fmt.Errorf("read dead letters: %w", err)
		}
		if letter.EventID != t.EventID || !letter.Reason.IsPoke() {
			continue
		}
		if found[letter.UserID] == nil {
			found[letter.UserID] = map[events.PusherID]*Letter{}
		}
		found[letter.UserID][letter.PusherID()] = letterOf(&letter)
	}
	r.letters = found
	return found[user], nil
}

// attemptsOf returns the attempts of a user's partition.
func (r *roomRecords) attemptsOf(ctx context.Context, conn *stream.Conn, user events.UserID, t *Trace) ([]events.Attempt, error) {
	part := events.PartitionOf(events.Token(user), conn.Topology().Partitions)
	if all, known := r.attempts[part]; known {
		return all, nil
	}
	var all []events.Attempt
	for a, err := range conn.Attempts(ctx, user, t.At) {
		if err != nil {
			return nil, fmt.Errorf("read what became of pokes: %w", err)
		}
		if a.RoomID == t.RoomID {
			all = append(all, a)
		}
	}
	r.attempts[part] = all
	return all, nil
}

// gather reads what is known of a user's pokes since an event.
func gather(ctx context.Context, conn *stream.Conn, user events.UserID, t *Trace, known *roomRecords) (*evidence, error) {
	e := &evidence{
		attempts: map[events.PusherID][]events.Attempt{}, later: map[events.PusherID]events.Attempt{},
		states: map[events.PusherID]events.PusherState{},
	}
	attempts, err := known.attemptsOf(ctx, conn, user, t)
	if err != nil {
		return nil, err
	}
	for _, a := range attempts {
		switch {
		case a.UserID != user:
		case a.EventID == t.EventID:
			e.attempts[a.Pusher] = append(e.attempts[a.Pusher], a)
		case a.RoomSeq > t.Seq && a.Outcome == poke.Delivered.String() && !a.Ahead:
			if _, known := e.later[a.Pusher]; !known {
				e.later[a.Pusher] = a
			}
		}
	}
	if e.letters, err = known.lettersOf(ctx, conn, user, t); err != nil {
		return nil, err
	}
	for state, err := range operator.NewClient(conn).Pushers(ctx, events.PusherFilter{UserID: user}) {
		if err != nil {
			break // no dispatcher answers: the rest of the trace holds all the same
		}
		e.states[state.Pusher] = state
	}
	return e, nil
}

// apply adds to a pusher what is known of it.
func (e *evidence) apply(p *Pusher) {
	p.Attempts, p.Letter = []Attempt{}, e.letters[p.Pusher]
	for _, a := range e.attempts[p.Pusher] {
		p.Attempts = append(p.Attempts, Attempt{
			At: a.At, Outcome: a.Outcome, Class: a.Class, Status: a.Status, Attempt: a.Attempt, TookMS: float64(a.Took.Microseconds()) / 1000,
		})
	}
	if state, known := e.states[p.Pusher]; known {
		p.State = &state
	}
}

// fate decides what became of the event at a pusher.
func (u *User) fate(t *Trace, set *events.Pusher, p *Pusher, e *evidence) Fate {
	last := Attempt{}
	for _, a := range p.Attempts {
		if a.Outcome == poke.Delivered.String() {
			return FateDelivered
		}
		last = a
	}
	later, newer := e.later[p.Pusher]
	final := last.final()
	switch {
	case p.Letter != nil:
		return FateDead
	case final != FateUnknown:
		return final
	case set.Disabled:
		return FateDisabled
	case set.Inactive:
		return FateInactive
	case !u.Notified || !u.reaches(set.InstanceHandle):
		return FateNone
	case u.Unread && newer:
		p.Newer = later.EventID
		return FatePassedOver
	case u.Unread, t.Waiting:
		return FateWaiting
	case t.Redacted != nil:
		return FateRedacted
	case u.Read != nil:
		return FateRead
	}
	return FateUnknown
}

// final returns what becomes of an event after an attempt that is the last, FateUnknown after others.
func (a *Attempt) final() Fate {
	switch {
	case a.Outcome == poke.Rejected.String():
		return FateRejected
	case a.Outcome == poke.Retired.String():
		return FateRetired
	case a.Class == poke.ClassRingOver.String():
		return FateRingOver
	case a.Class == poke.ClassQuiet.String():
		return FateQuiet
	}
	return FateUnknown
}

// reaches reports whether the rules notify a device: its own rules, if one of them matched.
func (u *User) reaches(handle string) bool {
	if own, ok := u.Devices[handle]; ok {
		return own.Notify
	}
	return u.Rule != nil && u.Rule.Notify
}
