package natstest

import (
	"slices"
	"strings"

	"poked/events"
	"poked/events/stream"
)

// Unread is a notification that a user has not read.
type Unread struct {
	Seq     uint64 // in NOTIFICATIONS
	Room    events.RoomID
	Event   events.EventID
	RoomSeq uint64 // in ROOMS
	Thread  events.EventID
}

// Log is all that NOTIFICATIONS held at one moment.
type Log struct {
	conn     *stream.Conn
	messages []logged
}

// logged is a message in NOTIFICATIONS.
type logged struct {
	seq     uint64
	subject string
	events.LogMessage
}

// ReadLog reads all of NOTIFICATIONS, a request for each message. A test that asks what several
// users have unread reads it once.
func (s *Server) ReadLog(conn *stream.Conn) *Log {
	s.t.Helper()
	l := &Log{conn: conn}
	for _, msg := range s.Stored(stream.Notifications, "") {
		if m, err := events.ParseLog(msg.Data); err == nil {
			l.messages = append(l.messages, logged{msg.Seq, msg.Subject, m})
		}
	}
	return l
}

// UnreadByLog returns what a user was notified of and has not read, in order. It works that
// out from the messages in NOTIFICATIONS in the simplest way: whoever knows it in another
// way must know the same.
func (s *Server) UnreadByLog(conn *stream.Conn, user events.UserID) []Unread {
	s.t.Helper()
	return s.ReadLog(conn).Unread(user)
}

// Unread is [Server.UnreadByLog].
func (l *Log) Unread(user events.UserID) (unread []Unread) {
	seen := map[uint64]bool{}
	for _, m := range l.messages {
		if !strings.HasPrefix(m.subject, events.LogSubject(l.conn.Topology().PartOf(user))) {
			continue
		}
		switch m.Kind {
		case events.LogNotify:
			n := m.Notify
			is := func(u events.LogUser) bool { return u.UserID == user }
			if slices.ContainsFunc(n.Users, is) && (n.Only != "" || !seen[n.RoomSeq]) {
				seen[n.RoomSeq] = true
				unread = append(unread, Unread{m.seq, n.RoomID, n.EventID, n.RoomSeq, n.Thread})
			}
		case events.LogRead:
			unread = afterRead(unread, user, m.Read)
		case events.LogRedacted:
			if slices.Contains(m.Redacted.Users, user) {
				unread = slices.DeleteFunc(unread, func(n Unread) bool { return n.RoomSeq == m.Redacted.RoomSeq })
			}
		}
	}
	return unread
}

func afterRead(unread []Unread, user events.UserID, read events.Read) []Unread {
	if read.UserID != user {
		return unread
	}
	for _, n := range unread {
		if n.Room == read.RoomID && n.Event == read.Event {
			read.UpTo = n.RoomSeq
		}
	}
	return slices.DeleteFunc(unread, func(n Unread) bool { return n.Room == read.RoomID && read.Covers(n.RoomSeq, n.Thread) })
}
