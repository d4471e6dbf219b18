// Package trace answers the operator's question: why did this phone ring for that message,
// or why did it not (G16)?
//
//	ROOMS ──▶ find the event ──▶ match.Explain: who was to be notified, and by which rule
//	      └─▶ what came after it: who read it, who redacted it
//	NOTIFICATIONS, OUTCOMES, DEAD, dispatchers ──▶ what became of it at each pusher
//
// It decides again with the code that decided: package match. Push rules are those of then, as
// far as the last versions of them are kept; where they are not, the trace has the time of the
// change. Pushers are those of now, since nobody keeps those of then. It works for events that ROOMS still holds (72 h), reads what people may read who
// have the operator's rights at NATS, and shows no content and no pushkey. Nothing here
// serves deliveries: a trace may read all of ROOMS, once, if the room is not given.
package trace

import (
	"context"
	"errors"
	"fmt"
	"time"

	"poked/dispatcher/match"
	"poked/events"
	"poked/events/partition"
	"poked/events/pushrule"
	"poked/events/stream"
)

// Query is what is asked.
type Query struct {
	Event events.EventID
	Room  events.RoomID // "" if it is not known: then all of ROOMS is searched
	User  events.UserID // "" for everyone whom the event may concern
	Rules bool          // say of each rule why it did not match

	// Searched is called with how many of the messages of ROOMS were searched, from time to
	// time; nil if nobody wants to know.
	Searched func(done, all uint64)
}

// ErrNotFound is returned for an event that ROOMS does not hold and of which there is no dead
// letter.
var ErrNotFound = errors.New("poked has not received this event within the last 72 hours, or never")

// Trace is what became of a room event.
type Trace struct {
	EventID events.EventID `json:"event_id"`
	RoomID  events.RoomID  `json:"room_id,omitempty"`
	Type    string         `json:"type,omitempty"`
	Sender  events.UserID  `json:"sender,omitempty"`
	Seq     uint64         `json:"seq,omitempty"`    // in ROOMS
	At      time.Time      `json:"at,omitzero"`      // when it was stored there
	SentAt  time.Time      `json:"sent_at,omitzero"` // by the clock of the sender's homeserver
	Thread  events.EventID `json:"thread,omitempty"` // root of its thread
	// Suppressed is why the event notifies nobody, whatever the rules say.
	Suppressed events.Suppression `json:"suppressed,omitzero"`
	FirstSeq   uint64             `json:"first_seq,omitempty"` // in ROOMS, of its first publication, if it is repeated
	Waiting    bool               `json:"waiting,omitempty"`   // no dispatcher has matched it yet

	Room       Room       `json:"room,omitzero"`
	Redacted   *Happening `json:"redacted,omitempty"`
	Unreadable *Letter    `json:"unreadable,omitempty"` // poked could not read the event
	Users      []User     `json:"users"`
}

// Room is what poked knew of the room at the event.
type Room struct {
	Known  bool   `json:"known"` // its m.room.create had been published
	Name   string `json:"name,omitempty"`
	Joined int    `json:"joined"` // members
}

// Happening is an event that came later, and changed something.
type Happening struct {
	Kind    string         `json:"kind"` // receipt, own_message, left or redaction
	By      events.UserID  `json:"by"`
	EventID events.EventID `json:"event_id,omitempty"` // of a receipt, the event that it names
	At      time.Time      `json:"at"`
}

// User is what became of the event for one user.
type User struct {
	UserID     events.UserID      `json:"user_id"`
	Membership string             `json:"membership"` // at the event; "" if there was none
	Notified   bool               `json:"notified"`
	Suppressed events.Suppression `json:"suppressed,omitzero"` // why not
	Ignores    bool               `json:"ignores_sender,omitempty"`
	Rule       *Rule              `json:"rule,omitempty"`    // that matched, for all devices; nil if none did
	Devices    map[string]Rule    `json:"devices,omitempty"` // rules of single devices that matched, by instance handle
	Rules      []RuleResult       `json:"rules,omitempty"`   // all for all devices, if they were asked for
	// RulesChanged is when the user's rules were changed after the event, if those of then are
	// not kept any more: the newest may decide otherwise.
	RulesChanged time.Time  `json:"rules_changed,omitzero"`
	Unread       bool       `json:"unread,omitempty"` // the notification is stored
	Read         *Happening `json:"read,omitempty"`
	Pushers      []Pusher   `json:"pushers"`
}

// Rule is a rule that matched.
type Rule struct {
	RuleID  string            `json:"rule_id"`
	Kind    pushrule.Kind     `json:"kind"`
	Actions []pushrule.Action `json:"actions"`
	Notify  bool              `json:"notify"` // whether the actions notify
}

// RuleResult is what one rule made of the event.
type RuleResult = pushrule.Explanation

// Letter is a dead letter, without what it holds.
type Letter struct {
	Seq       uint64            `json:"seq"` // in DEAD
	Reason    events.DeadReason `json:"reason"`
	Detail    string            `json:"detail,omitempty"`
	At        time.Time         `json:"at"`
	LastError string            `json:"last_error,omitempty"`
}

// Run traces an event.
func Run(ctx context.Context, conn *stream.Conn, q Query) (*Trace, error) {
	logged, err := find(ctx, conn, &q)
	if err != nil {
		return nil, err
	}
	if logged == nil {
		return unreadable(ctx, conn, &q)
	}
	x, err := match.Explain(ctx, conn, logged, q.User)
	if err != nil {
		return nil, fmt.Errorf("decide again about the event: %w", err)
	}
	t := &Trace{
		EventID: x.Event.EventID, RoomID: x.Event.RoomID, Type: x.Event.Type, Sender: x.Event.Sender, Seq: logged.Seq, At: logged.Time,
		SentAt: sentAt(&x.Event), Thread: x.Thread, Suppressed: x.Suppressed, FirstSeq: x.FirstSeq,
		Room: Room{Known: x.Known, Name: x.Name, Joined: x.Joined}, Users: []User{},
	}
	matched, err := partition.IsDone(ctx, conn, partition.StageMatch, events.PartitionOf(events.Token(t.RoomID), conn.Topology().Partitions), t.Seq)
	if err != nil {
		return nil, fmt.Errorf("look up how far match is: %w", err)
	}
	t.Waiting = !matched
	after, err := whatFollowed(ctx, conn, logged, t.Thread)
	if err != nil {
		return nil, err
	}
	t.Redacted = after.redacted
	known := &roomRecords{only: q.User, attempts: map[int][]events.Attempt{}}
	for i := range x.Users {
		u := userOf(&x.Users[i], q.Rules)
		u.Read = after.reads[u.UserID]
		if err := u.follow(ctx, conn, t, &x.Users[i], known); err != nil {
			return nil, err
		}
		t.Users = append(t.Users, u)
	}
	return t, nil
}

func sentAt(ev *events.RoomEvent) time.Time {
	if ev.OriginServerTS <= 0 {
		return time.Time{}
	}
	return time.UnixMilli(ev.OriginServerTS)
}

// userOf returns what was decided for a user.
func userOf(x *match.Explanation, rules bool) User {
	u := User{
		UserID: x.UserID, Membership: x.Membership, Notified: x.Suppressed == events.NotSuppressed, Suppressed: x.Suppressed,
		Ignores: x.Ignores, Rule: ruleOf(x.Outcome), Pushers: []Pusher{},
	}
	for handle, o := range x.Devices {
		if u.Devices == nil {
			u.Devices = map[string]Rule{}
		}
		u.Devices[handle] = *ruleOf(o)
	}
	if rules {
		u.Rules = x.Rules
	}
	u.RulesChanged = x.RulesChanged
	return u
}

func ruleOf(o *pushrule.Outcome) *Rule {
	if o == nil {
		return nil
	}
	return &Rule{RuleID: o.RuleID, Kind: o.Kind, Actions: o.Actions, Notify: o.Notify}
}
