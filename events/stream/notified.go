package stream

import (
	"context"
	"time"

	"github.com/tidwall/gjson"

	"poked/events"
)

// Notified is a message of NOTIFICATIONS that notified users of an event.
type Notified struct {
	Part  int    // of the users
	Seq   uint64 // in NOTIFICATIONS
	Users []events.UserID
}

// NotifiedAt says where the messages are that notified users of an event.
type NotifiedAt struct {
	Room    events.RoomID
	RoomSeq uint64 // in ROOMS
	// After is a sequence of NOTIFICATIONS before all of the messages, or 0 if it is not
	// known; then Since is when the event was stored, or before.
	After uint64
	Since time.Time
	// Count is how many messages there are, or 0 if it is not known.
	Count int
}

const (
	// writtenWithin is how soon after an event was stored its notifications are, and
	// scanLimit how many other messages may be among them.
	writtenWithin = 10 * time.Minute
	scanLimit     = 1 << 14
)

// NotifiedOf returns the messages that notified users of an event, and the sender of the
// event, or "" if there are none. It reads the log in order from where they begin: with
// NotifiedAt.After that is a few hundred messages.
func (c *Conn) NotifiedOf(ctx context.Context, at NotifiedAt) (found []Notified, sender events.UserID, err error) {
	from := at.After + 1
	if at.After == 0 {
		since := at.Since.Add(-clockSkew)
		first, err := c.firstSince(ctx, Notifications, logSubjects, since)
		if err == nil && first == nil { // the replica may be behind
			first, err = c.askLeader(ctx, Notifications, query{Next: logSubjects, Since: &since})
		}
		if err != nil || first == nil {
			return nil, "", err
		}
		from = first.Sequence
	}
	s := notifiedSearch{NotifiedAt: at}
	for msg, err := range c.Pass(ctx, Notifications, logSubjects, from) {
		if err != nil {
			return nil, "", err
		}
		if s.isOver(&msg) {
			break
		}
		s.look(&msg)
	}
	if at.After > 0 && len(s.found) == 0 { // the log has lost its end, and numbers its messages anew
		at.After, at.Count = 0, 0
		return c.NotifiedOf(ctx, at)
	}
	return s.found, s.sender, nil
}

// notifiedSearch is one reading of the log for [Conn.NotifiedOf].
type notifiedSearch struct {
	NotifiedAt
	found  []Notified
	sender events.UserID
	rest   int // messages since the last one that was found, or since a later event of the room
}

// isOver reports whether nothing is to be found in a message and beyond.
func (s *notifiedSearch) isOver(msg *Passed) bool {
	if s.rest > 0 || s.After > 0 {
		s.rest++
	}
	return len(s.found) > 0 && len(s.found) == s.Count || s.rest > scanLimit ||
		s.After == 0 && msg.Time.After(s.Since.Add(writtenWithin+clockSkew))
}

// look looks at a message.
func (s *notifiedSearch) look(msg *Passed) {
	switch roomSeq := gjson.GetBytes(msg.Data, "room_seq").Uint(); {
	case roomSeq > s.RoomSeq && s.rest == 0 && gjson.GetBytes(msg.Data, "room_id").Str == string(s.Room):
		s.rest = 1
		return
	case roomSeq != s.RoomSeq:
		return
	}
	m, err := events.ParseLog(msg.Data)
	part, ok := events.LogPartition(msg.Subject)
	if err != nil || !ok || m.Notify == nil || m.Notify.RoomID != s.Room {
		return
	}
	one := Notified{Part: part, Seq: msg.Seq}
	for _, u := range m.Notify.Users {
		one.Users = append(one.Users, u.UserID)
	}
	s.found, s.rest = append(s.found, one), 1
	s.sender = events.UserID(gjson.GetBytes(m.Notify.Body, "sender").Str)
}
