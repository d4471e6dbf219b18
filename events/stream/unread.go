package stream

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"poked/events"
)

// Unread is what a user was notified of and has not read, by thread.
type Unread struct {
	Messages uint64 // notifications; a retried dead letter counts once
	Threads  []UnreadThread
	// Unsettled reports that the log changed during every look: notifications after upTo
	// may be counted too, and the caller should ask again.
	Unsettled bool
}

// UnreadThread is what a user has not read of one thread of a room.
type UnreadThread struct {
	Room     events.RoomID
	Thread   string // token, see [events.LogSubject]
	Messages uint64
	LastSeq  uint64 // of the newest, in NOTIFICATIONS
	Last     []byte // the newest, for ParseNotification
}

// unreadLooks is how often the log is looked at in order to see it at rest.
const unreadLooks = 4

// Unread returns what a user has not read, as of sequence upTo of NOTIFICATIONS: later
// notifications are not counted, unless the result is Unsettled. The server answers from
// its index of subjects.
func (c *Conn) Unread(ctx context.Context, user events.UserID) (unread Unread, upTo uint64, err error) {
	filter := c.allNotifications(user)
	for look := 1; ; look++ {
		counts, end, err := c.countNotifications(ctx, filter)
		if err != nil || len(counts) == 0 {
			return Unread{}, end, err
		}
		last, heard, err := c.newestOf(ctx, filter, end)
		if err != nil {
			return Unread{}, 0, err
		}
		unread, upTo = unreadOf(counts, last, end), max(end, heard)
		if !unread.Unsettled || look == unreadLooks || len(counts) > maxLast {
			return unread, upTo, nil
		}
	}
}

// newestOf returns the newest notification of each subject that matches a filter, and up to
// which sequence the server that answered knew the stream: at least to the end that the
// leader reported.
func (c *Conn) newestOf(ctx context.Context, filter string, end uint64) (last []*jetstream.RawStreamMsg, heard uint64, err error) {
	last, heard, err = c.readNewest(ctx, Notifications, newest{Filters: []string{filter}})
	switch {
	case errors.Is(err, errTooMany):
		last, err = c.newestByPass(ctx, filter)
		return last, end, err
	case err != nil:
		return nil, 0, err
	case heard < end && len(last) > 0, len(last) == 0 && c.checkNone(ctx, Notifications, filter) != nil:
		return nil, 0, fmt.Errorf("read %s: %w", Notifications, errBehind)
	}
	return last, heard, nil
}

// newestByPass returns the newest notification of each subject, when they do not fit one
// answer: it reads all that match the filter.
func (c *Conn) newestByPass(ctx context.Context, filter string) ([]*jetstream.RawStreamMsg, error) {
	last := map[string]*jetstream.RawStreamMsg{}
	for msg, err := range c.Pass(ctx, Notifications, filter, 1) {
		if err != nil {
			return nil, err
		}
		last[msg.Subject] = &jetstream.RawStreamMsg{Subject: msg.Subject, Sequence: msg.Seq, Data: msg.Data}
	}
	return slices.Collect(maps.Values(last)), nil
}

// unreadOf combines how many notifications each subject has with the newest of each. The
// server knew the end of the stream before it counted, and the newest after that: if none of
// them is after the end, nothing was stored in between, and the counts are exact.
func unreadOf(counts map[string]uint64, last []*jetstream.RawStreamMsg, end uint64) Unread {
	u := Unread{Unsettled: len(last) != len(counts)}
	for _, msg := range last {
		s, err := events.ParseLogSubject(msg.Subject)
		n := counts[msg.Subject]
		u.Unsettled = u.Unsettled || n == 0 || msg.Sequence > end
		if err != nil || n == 0 {
			continue // none of ours, or stored since
		}
		if s.Thread != events.Retried {
			u.Messages += n
		}
		u.Threads = append(u.Threads, UnreadThread{
			Room: s.Room, Thread: s.Thread, Messages: n, LastSeq: msg.Sequence, Last: msg.Data,
		})
	}
	return u
}

// countNotifications returns how many notifications each subject has that matches a filter,
// according to the leader of the stream, and the last sequence of the stream before that.
func (c *Conn) countNotifications(ctx context.Context, filter string) (counts map[string]uint64, lastSeq uint64, err error) {
	info, err := c.notifications.Info(ctx, jetstream.WithSubjectFilter(filter))
	if err != nil {
		return nil, 0, fmt.Errorf("count notifications: %w", err)
	}
	return info.State.Subjects, info.State.LastSeq, nil
}

// CountNotifications returns how many of a user's notifications are in the log after a
// sequence of NOTIFICATIONS. The server scans the log for them: it is for people who ask.
func (c *Conn) CountNotifications(ctx context.Context, user events.UserID, after uint64) (uint64, error) {
	page, pending, err := c.readPage(ctx, Notifications, c.allNotifications(user), after+1, 1)
	return uint64(len(page) + pending), err //nolint:gosec // a count of messages
}

// UnreadEvent is a room event that a user was notified of and has not read.
type UnreadEvent struct {
	EventID events.EventID
	RoomSeq uint64    // in ROOMS
	At      time.Time // when it was stored there, or later
	Thread  events.EventID
}

// UnreadIn yields the unread events of a user in a room, or of all users if user is "",
// once for each notification. For one user the cost is that of the user's unread
// notifications in the room; for all users it is a scan of NOTIFICATIONS, unless the room
// has none.
func (c *Conn) UnreadIn(ctx context.Context, room events.RoomID, user events.UserID) iter.Seq2[UnreadEvent, error] {
	filter := c.notifySubject(events.Token(user), events.Token(room), events.AnyThread)
	if user == "" {
		filter = string(events.LogNotify) + ".*.*." + events.Token(room) + "." + events.AnyThread
	}
	return func(yield func(UnreadEvent, error) bool) {
		subjects, err := c.subjectsOf(ctx, filter)
		if err != nil {
			yield(UnreadEvent{}, err)
			return
		}
		if user == "" && len(subjects) > 0 {
			subjects = []string{filter} // one read for all of them
		}
		for _, subject := range subjects {
			for msg, err := range c.readStored(ctx, Notifications, subject, 1) {
				if err != nil {
					yield(UnreadEvent{}, err)
					return
				}
				if n, err := events.ParseNotification(msg.Data); err == nil && !yield(UnreadEvent{
					EventID: n.EventID, RoomSeq: n.RoomSeq, At: n.At, Thread: n.Thread,
				}, nil) {
					return
				}
			}
		}
	}
}

// subjectsOf returns the subjects of NOTIFICATIONS that match a filter and have messages,
// according to the leader. The leader has an index of subjects, whereas a read by a
// wildcard may scan the whole stream.
func (c *Conn) subjectsOf(ctx context.Context, filter string) ([]string, error) {
	counts, _, err := c.countNotifications(ctx, filter)
	return slices.Sorted(maps.Keys(counts)), err
}
