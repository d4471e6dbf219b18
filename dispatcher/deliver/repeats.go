package deliver

import (
	"context"
	"hash/maphash"
	"time"

	"poked/events"
	"poked/events/partition"
	"poked/events/stream"
	"poked/events/wait"
)

// Match writes an event again if it does not know whether it was stored: after a crash, or
// because a write had no answer. The message says so, and after which sequence of the log
// the first one is, if there is one. Users who have that are left out of the second, so
// nobody is notified twice. The newest messages are in memory; what was stored before them
// is read once, in order, for all messages that ask (G12).

// earlier is which users of the partition the log notified of which events, behind a
// sequence.
type earlier struct {
	after  uint64
	seen   map[repeat]struct{}
	usedAt time.Time
}

// repeat is an event and a user. The sequence of an event may be that of another one, which
// ROOMS has lost by a power cut, so it takes the id as well; that is 0 for a redacted event, of
// which the log knows only the sequence.
type repeat struct{ roomSeq, event, user uint64 }

// earlierKept is how long the part is remembered after it was needed.
const earlierKept = time.Minute

// repeatSeed prevents anybody from choosing an id whose hash collides with another's.
var repeatSeed = maphash.MakeSeed() //nolint:gochecknoglobals // it never changes

func repeatOf(n *events.LogNotification, user events.UserID) repeat {
	return repeat{
		roomSeq: n.RoomSeq, event: maphash.String(repeatSeed, string(n.EventID)), user: maphash.String(repeatSeed, string(user)),
	}
}

func redactedOf(roomSeq uint64, user events.UserID) repeat {
	return repeat{roomSeq: roomSeq, user: maphash.String(repeatSeed, string(user))}
}

// has reports whether the log has notified a user of an event.
func (e *earlier) has(n *events.LogNotification, user events.UserID) bool {
	_, notified := e.seen[repeatOf(n, user)]
	_, redacted := e.seen[redactedOf(n.RoomSeq, user)]
	return notified || redacted
}

// repeated returns the users of a message who have been notified of its event already. It
// fails only if ctx ends. The follower's goroutine calls it before the message is added to
// the recent ones.
func (d *Deliverer) repeated(ctx context.Context, msg partition.Message, n *events.LogNotification) (users map[events.UserID]bool, err error) {
	if n.Only != "" {
		return nil, nil // a dead letter that is retried on purpose
	}
	d.mu.Lock()
	from := d.recent.after
	again := n.Again
	for m := range d.recent.about(n) {
		again = again || m.n.Again // the message was held up, and one that was written later is before it
	}
	if again {
		users = map[events.UserID]bool{}
		for m := range d.recent.about(n) {
			for i := range m.n.Users {
				if m.n.Only == "" {
					users[m.n.Users[i].UserID] = true
				}
			}
		}
	}
	d.mu.Unlock()
	if !n.Again || n.Since >= from {
		return users, nil
	}
	err = wait.Until(ctx, wait.RetryPause, d.waiting, func() error { return d.readEarlier(ctx, n.Since, msg.Seq-1) })
	if err != nil {
		return nil, err
	}
	for i := range n.Users {
		user := n.Users[i].UserID
		if d.earlier.has(n, user) {
			users[user] = true
		}
	}
	return users, nil
}

// noteEarlier adds a message to what is known of the log, so that it need not be read for the
// next one.
func (d *Deliverer) noteEarlier(m *logged) {
	if e := d.earlier; e != nil && m.n.Only == "" {
		for i := range m.n.Users {
			e.seen[repeatOf(m.n, m.n.Users[i].UserID)] = struct{}{}
		}
	}
}

// readEarlier reads what the log notified users of behind one sequence and up to another,
// unless that is known.
func (d *Deliverer) readEarlier(ctx context.Context, after, upTo uint64) error {
	if d.earlier == nil || after < d.earlier.after {
		e := &earlier{after: after, seen: map[repeat]struct{}{}}
		for msg, err := range d.Conn.Pass(ctx, d.Conn.Topology().StreamOf(stream.Notifications, d.Part), events.LogSubject(d.Part), after+1) {
			if err != nil {
				return err
			}
			if msg.Seq > upTo {
				break
			}
			e.add(msg.Data)
		}
		d.earlier = e
	}
	d.earlier.usedAt = time.Now()
	return nil
}

// add adds a message of the log. One that redacts an event was caused by one that notified
// of it.
func (e *earlier) add(raw []byte) {
	m, err := events.ParseLog(raw)
	switch {
	case err != nil: // a dead letter by now
	case m.Notify != nil && m.Notify.Only == "":
		for i := range m.Notify.Users {
			e.seen[repeatOf(m.Notify, m.Notify.Users[i].UserID)] = struct{}{}
		}
	case m.Kind == events.LogRedacted:
		for _, user := range m.Redacted.Users {
			e.seen[redactedOf(m.Redacted.RoomSeq, user)] = struct{}{}
		}
	}
}

// forgetEarlier releases what was read once no message needs it.
func (d *Deliverer) forgetEarlier(now time.Time) {
	if d.earlier != nil && now.Sub(d.earlier.usedAt) > earlierKept {
		d.earlier = nil
	}
}
