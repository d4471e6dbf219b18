package stream

import (
	"context"
	"slices"
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
	// Spans say where they are in each stream of NOTIFICATIONS, in the order of their numbers.
	// If all are zero that is not known; then Since is when the event was stored, or before.
	Spans []Span
	Since time.Time
}

// Span is a part of a stream of NOTIFICATIONS: messages after a sequence. The zero Span has
// none.
type Span struct {
	After uint64
	Count uint32 // how many messages there are, or 0 if it is not known
}

const (
	// writtenWithin is how soon after an event was stored its notifications are, and
	// scanLimit how many other messages may be among them.
	writtenWithin = 10 * time.Minute
	scanLimit     = 1 << 14
)

// NotifiedOf returns the messages that notified users of an event, and the sender of the
// event, or "" if there are none. It reads the log in order from where they begin: with
// NotifiedAt.Spans that is a few hundred messages.
func (c *Conn) NotifiedOf(ctx context.Context, at NotifiedAt) (found []Notified, sender events.UserID, err error) {
	known := slices.ContainsFunc(at.Spans, func(s Span) bool { return s != Span{} })
	for i, name := range c.StreamsOf(Notifications) {
		s := notifiedSearch{NotifiedAt: at}
		if known && i < len(at.Spans) {
			s.Span = at.Spans[i]
		}
		if known && s.Span == (Span{}) {
			continue
		}
		err := c.search(ctx, name, &s)
		if err == nil && s.After > 0 && len(s.found) == 0 { // the log has lost its end, and numbers its messages anew
			s = notifiedSearch{NotifiedAt: at}
			err = c.search(ctx, name, &s)
		}
		if err != nil {
			return nil, "", err
		}
		if found = append(found, s.found...); s.sender != "" {
			sender = s.sender
		}
	}
	return found, sender, nil
}

// search reads a stream of NOTIFICATIONS for [Conn.NotifiedOf].
func (c *Conn) search(ctx context.Context, stream string, s *notifiedSearch) error {
	from := s.After + 1
	if s.After == 0 {
		since := s.Since.Add(-clockSkew)
		first, err := c.firstSince(ctx, stream, logSubjects, since)
		if err == nil && first == nil { // the replica may be behind
			first, err = c.askLeader(ctx, stream, query{Next: logSubjects, Since: &since})
		}
		if err != nil || first == nil {
			return err
		}
		from = first.Sequence
	}
	for msg, err := range c.Pass(ctx, stream, logSubjects, from) {
		if err != nil {
			return err
		}
		if s.isOver(&msg) {
			break
		}
		s.look(&msg)
	}
	return nil
}

// notifiedSearch is one reading of a stream for [Conn.NotifiedOf].
type notifiedSearch struct {
	NotifiedAt
	Span
	found  []Notified
	sender events.UserID
	rest   int // messages since the last one that was found, or since a later event of the room
}

// isOver reports whether nothing is to be found in a message and beyond.
func (s *notifiedSearch) isOver(msg *Passed) bool {
	if s.rest > 0 || s.After > 0 {
		s.rest++
	}
	return len(s.found) > 0 && len(s.found) == int(s.Count) || s.rest > scanLimit ||
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
