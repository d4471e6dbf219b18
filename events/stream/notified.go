package stream

import (
	"cmp"
	"context"
	"errors"
	"hash/maphash"
	"maps"
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
	// rememberLimit is how many messages of a stream a [NotifiedLog] remembers, at 40 bytes
	// each.
	rememberLimit = 1 << 15
)

// NotifiedLog finds out whom events notified. It reads the log in order from where the
// notifications of an event begin, and remembers which event each message is about: many
// events of the same time, as when somebody redacts all that a spammer wrote, are found in one
// reading. One goroutine owns it.
type NotifiedLog struct {
	conn    *Conn
	back    <-chan struct{}
	windows map[string]*window // by stream
}

// NotifiedLog returns one that remembers nothing yet.
func (c *Conn) NotifiedLog() *NotifiedLog {
	return &NotifiedLog{conn: c, windows: map[string]*window{}}
}

// Remembers reports whether it holds memory that [NotifiedLog.Forget] releases.
func (l *NotifiedLog) Remembers() bool { return len(l.windows) > 0 }

// Forget releases what is remembered.
func (l *NotifiedLog) Forget() { clear(l.windows) }

// window is a part of a stream of NOTIFICATIONS that was read.
type window struct {
	from  uint64    // the first sequence that it covers
	since time.Time // everything that was stored since then and up to the last message is in it; zero if that is not known yet
	last  about     // the newest message that was read, whatever its kind; Seq is 0 for none
	about []about   // those that notified somebody
}

// about is which event a message is about.
type about struct {
	seq, roomSeq, room uint64 // room is a hash
	at                 int64  // when the message was stored, in nanoseconds since the Unix epoch
}

// roomSeed prevents a room's creator from choosing an id whose hash collides with another's.
var roomSeed = maphash.MakeSeed() //nolint:gochecknoglobals // it never changes

func hashOfRoom(room string) uint64 { return maphash.String(roomSeed, room) }

// errLostEnd is returned when the log is not any more what was read of it.
var errLostEnd = errors.New("the log has lost its end")

// Of returns the messages that notified users of an event, and the sender of the event, or ""
// if there are none. With [NotifiedAt.Spans] it reads a few messages of the log, otherwise
// those of some minutes.
func (l *NotifiedLog) Of(ctx context.Context, at NotifiedAt) (found []Notified, sender events.UserID, err error) {
	l.forgetLost()
	known := slices.ContainsFunc(at.Spans, func(s Span) bool { return s != Span{} })
	for i, name := range l.conn.topology.StreamsOf(Notifications) {
		s := notifiedSearch{NotifiedAt: at, room: hashOfRoom(string(at.Room))}
		if known && i < len(at.Spans) {
			s.Span = at.Spans[i]
		}
		if known && s.Span == (Span{}) {
			continue
		}
		err := l.search(ctx, name, &s)
		if err == nil && s.After > 0 && len(s.messages) == 0 { // the log has lost its end, and numbers its messages anew
			s.Span = Span{}
			err = l.search(ctx, name, &s)
		}
		if err != nil {
			return nil, "", err
		}
		if found = append(found, s.messages...); s.sender != "" {
			sender = s.sender
		}
	}
	return found, sender, nil
}

// forgetLost forgets what was read if NATS was away since: it may have lost the end of the log,
// and number new messages from there.
func (l *NotifiedLog) forgetLost() {
	select {
	case <-l.back:
		l.Forget()
	default:
		if l.back != nil {
			return
		}
	}
	l.back = l.conn.UntilReconnect()
}

// search finds the messages of one stream. If these are others than those that it remembers, it
// begins again with what is there.
func (l *NotifiedLog) search(ctx context.Context, stream string, s *notifiedSearch) error {
	err := l.searchOnce(ctx, stream, s)
	if errors.Is(err, errLostEnd) {
		delete(l.windows, stream)
		err = l.searchOnce(ctx, stream, s)
	}
	return err
}

func (l *NotifiedLog) searchOnce(ctx context.Context, stream string, s *notifiedSearch) error {
	s.found, s.bodies, s.messages, s.hit = nil, map[uint64][]byte{}, nil, s.After
	w, start, err := l.window(ctx, stream, s)
	if err != nil || w == nil {
		return err
	}
	over := false
	first, _ := slices.BinarySearchFunc(w.about, start, func(a about, seq uint64) int { return cmp.Compare(a.seq, seq) })
	for _, a := range w.about[first:] {
		if over = s.isOver(a); over {
			break
		}
		s.look(a)
	}
	if !over && !s.isOver(w.last) {
		err = l.readOn(ctx, stream, w, func(a about, raw []byte) bool {
			if s.isOver(a) {
				return false
			}
			if s.look(a) {
				s.bodies[a.seq] = raw
			}
			return true
		})
	}
	if err != nil {
		return err
	}
	return l.fetch(ctx, s)
}

// window returns a part of the stream that includes where the search begins, which may be at its
// end, and that sequence. It is nil if the stream has nothing since then.
func (l *NotifiedLog) window(ctx context.Context, stream string, s *notifiedSearch) (w *window, start uint64, err error) {
	w, start = l.windows[stream], s.After+1
	var since time.Time
	if s.After == 0 {
		since = s.Since.Add(-ClockSkew)
		if w != nil && !w.since.IsZero() && !w.since.After(since) && w.last.at >= since.UnixNano() {
			i, _ := slices.BinarySearchFunc(w.about, since.UnixNano(), func(a about, at int64) int { return cmp.Compare(a.at, at) })
			if i == len(w.about) {
				return w, w.last.seq + 1, nil
			}
			return w, w.about[i].seq, nil
		}
		first, err := l.conn.FirstSince(ctx, stream, logSubjects, since)
		if err == nil && first == nil { // the replica may be behind
			first, err = l.conn.AskLeader(ctx, stream, Query{Next: logSubjects, Since: &since})
		}
		if err != nil || first == nil {
			return nil, 0, err
		}
		start = first.Sequence
	}
	if w == nil || start < w.from || start > w.last.seq+scanLimit {
		w = &window{from: start, since: since}
		l.windows[stream] = w
	}
	return w, start, nil
}

// readOn reads what follows the window, adds it, and calls see with it, until see returns false.
func (l *NotifiedLog) readOn(ctx context.Context, stream string, w *window, see func(a about, raw []byte) bool) error {
	begin := w.last
	for msg, err := range l.conn.Pass(ctx, stream, logSubjects, max(begin.seq, w.from)) {
		if err != nil {
			return err
		}
		a := about{seq: msg.Seq, at: msg.Time.UnixNano()}
		if begin.seq > 0 { // the one that was read last
			if a.seq != begin.seq || a.at != begin.at {
				return errLostEnd
			}
			begin.seq = 0
			continue
		}
		w.add(&a, msg.Data)
		if !see(a, msg.Data) {
			return nil
		}
	}
	if begin.seq > 0 {
		return errLostEnd
	}
	return nil
}

// add adds the next message of the log.
func (w *window) add(a *about, raw []byte) {
	if w.since.IsZero() { // others before it may have the same time
		w.since = time.Unix(0, a.at+1)
	}
	w.last = *a
	if gjson.GetBytes(raw, "kind").Str != string(events.LogNotify) {
		return
	}
	a.roomSeq, a.room = gjson.GetBytes(raw, "room_seq").Uint(), hashOfRoom(gjson.GetBytes(raw, "room_id").Str)
	if len(w.about) >= rememberLimit {
		w.about = slices.Delete(w.about, 0, rememberLimit/2)
		w.from, w.since = w.about[0].seq, time.Unix(0, w.about[0].at+1)
	}
	w.about = append(w.about, *a)
}

// fetch reads those of the messages that were found earlier.
func (l *NotifiedLog) fetch(ctx context.Context, s *notifiedSearch) error {
	missing := slices.DeleteFunc(slices.Clone(s.found), func(seq uint64) bool { return s.bodies[seq] != nil })
	bodies, err := l.conn.Bodies(ctx, missing)
	if err != nil {
		return err
	}
	maps.Copy(s.bodies, bodies)
	for _, seq := range s.found {
		raw := s.bodies[seq]
		if raw == nil {
			continue // it was redacted
		}
		m, err := events.ParseLog(raw)
		switch {
		case err != nil: // a dead letter
			continue
		case m.Notify == nil || m.Notify.RoomSeq != s.RoomSeq || m.Notify.RoomID != s.Room:
			return errLostEnd
		}
		one := Notified{Seq: seq}
		for _, u := range m.Notify.Users {
			one.Part, one.Users = l.conn.topology.PartOf(u.UserID), append(one.Users, u.UserID)
		}
		s.messages = append(s.messages, one)
		s.sender = events.UserID(gjson.GetBytes(m.Notify.Body, "sender").Str)
	}
	return nil
}

// notifiedSearch is a search for the messages of one event in one stream.
type notifiedSearch struct {
	NotifiedAt
	Span
	room     uint64            // hash of Room
	found    []uint64          // sequences of the messages
	bodies   map[uint64][]byte // of those that were read just now
	messages []Notified
	sender   events.UserID
	hit      uint64 // where the search begins, or the first hint of the event: not far beyond it the search is over
}

// isOver reports whether nothing is to be found in a message and beyond.
func (s *notifiedSearch) isOver(a about) bool {
	return len(s.found) > 0 && len(s.found) == int(s.Count) || s.hit > 0 && a.seq > s.hit+scanLimit ||
		s.After == 0 && a.at > s.Since.Add(writtenWithin+ClockSkew).UnixNano()
}

// look looks at a message, and reports whether it is about the event.
func (s *notifiedSearch) look(a about) bool {
	switch {
	case a.room != s.room:
	case a.roomSeq == s.RoomSeq:
		s.found, s.hit = append(s.found, a.seq), a.seq
		return true
	case s.hit == 0 && a.roomSeq > s.RoomSeq:
		s.hit = a.seq
	}
	return false
}
