package stream

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"poked/events"
)

// logPage is how many messages one read of a log asks for.
const logPage = 256

// headerPending is how many messages of a batched read are still to come.
const headerPending = "Nats-Num-Pending"

// errShortRead says that a page of a log ended before its end.
var errShortRead = errors.New("read was cut short")

// readLog yields the messages of a stream that match filter, in order, from
// the given sequence to the end of what is stored. It ends with the first
// error.
func (c *Conn) readLog(ctx context.Context, stream, filter string, from uint64) iter.Seq2[*jetstream.RawStreamMsg, error] {
	return func(yield func(*jetstream.RawStreamMsg, error) bool) {
		for {
			page, pending, err := c.readPage(ctx, stream, filter, from, logPage)
			if err != nil {
				yield(nil, err)
				return
			}
			for _, msg := range page {
				if !yield(msg, nil) {
					return
				}
				from = msg.Sequence + 1
			}
			if pending == 0 {
				return
			}
		}
	}
}

// readPage reads up to limit messages that match filter, from a sequence on,
// and tells how many more there are.
func (c *Conn) readPage(ctx context.Context, stream, filter string, from uint64, limit int) (page []*jetstream.RawStreamMsg, pending int, err error) {
	ctx, cancel := context.WithTimeout(ctx, RequestTimeout)
	defer cancel()
	msgs, err := jetstreamext.GetBatch(ctx, c.js, stream, limit,
		jetstreamext.GetBatchSeq(max(from, 1)), jetstreamext.GetBatchSubject(filter))
	if err != nil {
		return nil, 0, fmt.Errorf("read %s: %w", stream, err)
	}
	for msg, err := range msgs {
		if errors.Is(err, jetstreamext.ErrNoMessages) {
			return nil, 0, nil
		}
		if err != nil {
			return nil, 0, fmt.Errorf("read %s: %w", stream, err)
		}
		page = append(page, msg)
	}
	if len(page) == 0 {
		return nil, 0, fmt.Errorf("read %s: %w", stream, errShortRead)
	}
	pending, err = strconv.Atoi(page[len(page)-1].Header.Get(headerPending))
	if err != nil {
		return nil, 0, fmt.Errorf("read %s: pending count: %w", stream, err)
	}
	return page, pending, nil
}

// Unread is what a user has been notified of and has not read.
type Unread struct {
	Messages uint64          // notifications; a dead letter that is tried again is not counted once more
	Rooms    []events.RoomID // in which there are any, in no order
	// Unsettled reports that the log changed at each look: some that came later may be
	// counted as well, and the log is to be asked again.
	Unsettled bool

	retried uint64
}

// unreadLooks is how often the log is counted to find it twice the same.
const unreadLooks = 4

// Unread returns what a user has left in the log, and up to which sequence of
// NOTIFICATIONS that holds: later ones are not counted, unless it is Unsettled.
func (c *Conn) Unread(ctx context.Context, user events.UserID) (count Unread, upTo uint64, err error) {
	count, _, err = c.countNotifications(ctx, c.allNotifications(user))
	for look := 1; err == nil && look < unreadLooks; look++ {
		var again Unread
		again, upTo, err = c.countNotifications(ctx, c.allNotifications(user))
		// The server reads the sequence before it counts. If two counts are the
		// same, nothing came between the first of them and the second sequence.
		if again.Messages == count.Messages && len(again.Rooms) == len(count.Rooms) {
			return again, upTo, err
		}
		count = again
	}
	if err != nil {
		return Unread{}, 0, err
	}
	count.Unsettled = true
	return count, upTo, nil
}

// countNotifications counts the notifications under a filter. The leader of the
// stream answers.
func (c *Conn) countNotifications(ctx context.Context, filter string) (count Unread, lastSeq uint64, err error) {
	info, err := c.notifications.Info(ctx, jetstream.WithSubjectFilter(filter))
	if err != nil {
		return Unread{}, 0, fmt.Errorf("count notifications: %w", err)
	}
	rooms := map[string]struct{}{}
	for subject, n := range info.State.Subjects {
		tokens := strings.Split(subject, ".")
		if len(tokens) != 5 {
			continue // none of ours
		}
		if tokens[4] == events.Retried {
			count.retried += n
			continue
		}
		count.Messages += n
		rooms[tokens[3]] = struct{}{}
	}
	for token := range rooms {
		if room, err := events.ParseToken[events.RoomID](token); err == nil {
			count.Rooms = append(count.Rooms, room)
		}
	}
	return count, info.State.LastSeq, nil
}

// CountNotifications returns how many of a user's notifications stand in the log
// after a sequence of NOTIFICATIONS.
func (c *Conn) CountNotifications(ctx context.Context, user events.UserID, after uint64) (uint64, error) {
	page, pending, err := c.readPage(ctx, StreamNotifications, c.allNotifications(user), after+1, 1)
	return uint64(len(page) + pending), err //nolint:gosec // a count of messages
}

// UnreadEvent is an event of a room that somebody was notified of and has not read.
type UnreadEvent struct {
	EventID events.EventID
	RoomSeq uint64    // in ROOMS
	At      time.Time // not earlier than when it was stored there
	Thread  events.EventID
}

// UnreadIn yields the events that a user has unread in a room, or anybody if the user
// is "": once for each notification. Of one user it costs what they have unread there,
// of all what NOTIFICATIONS holds, unless nobody has anything.
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
			subjects = []string{filter} // one reading for all
		}
		for _, subject := range subjects {
			for msg, err := range c.readStored(ctx, StreamNotifications, subject, 1) {
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

// subjectsOf returns the subjects of NOTIFICATIONS that match a filter and hold
// anything, as the leader knows them. It has an index of them, while to read by a
// wildcard may be to look through all that the stream holds.
func (c *Conn) subjectsOf(ctx context.Context, filter string) ([]string, error) {
	info, err := c.notifications.Info(ctx, jetstream.WithSubjectFilter(filter))
	if err != nil {
		return nil, fmt.Errorf("list subjects of notifications: %w", err)
	}
	return slices.Sorted(maps.Keys(info.State.Subjects)), nil
}

// HasNotification says whether the notification of the event at ROOMS sequence
// roomSeq, in a thread, is in the user's log. since is when the event was stored:
// its notification cannot be older.
func (c *Conn) HasNotification(ctx context.Context, user events.UserID, room events.RoomID, thread events.EventID, roomSeq uint64, since time.Time) (bool, error) {
	for _, err := range c.notified(ctx, c.notifySubject(events.Token(user), events.Token(room), events.Token(thread)), roomSeq, since, writtenWithin) {
		return err == nil, err
	}
	return false, nil
}

// WithNotification returns all users in whose log the notification of that event
// is, and at which sequences of NOTIFICATIONS: more than one if it was a dead
// letter and is tried again. For many users it is far cheaper than to ask for each
// of them: it reads the room's notifications since then once.
func (c *Conn) WithNotification(ctx context.Context, room events.RoomID, roomSeq uint64, since time.Time) (map[events.UserID][]uint64, error) {
	users := map[events.UserID][]uint64{}
	inRoom := string(events.LogNotify) + ".*.*." + events.Token(room) + "."
	again, err := c.subjectsOf(ctx, inRoom+events.Retried)
	if err != nil {
		return nil, err
	}
	filters := map[string]time.Duration{inRoom + events.AnyThread: writtenWithin}
	for _, subject := range again { // mostly none
		filters[subject] = neverPast
	}
	for filter, within := range filters {
		for at, err := range c.notified(ctx, filter, roomSeq, since, within) {
			if err != nil {
				return nil, err
			}
			if !slices.Contains(users[at.user], at.seq) {
				users[at.user] = append(users[at.user], at.seq)
			}
		}
	}
	return users, nil
}

// The notifications of a room are written in the order of its events, but for
// those that have to be written again. Once ones of later events have been coming
// for writtenWithin, no more of an event are looked for; those of a dead letter
// that is tried again may come at any time.
const (
	writtenWithin = 10 * time.Minute
	neverPast     = 365 * 24 * time.Hour
)

// notifiedAt is where a user's notification stands.
type notifiedAt struct {
	user events.UserID
	seq  uint64
}

// notified yields where the notifications of one event stand on the subjects that
// match filter.
func (c *Conn) notified(ctx context.Context, filter string, roomSeq uint64, since time.Time, within time.Duration) iter.Seq2[notifiedAt, error] {
	return func(yield func(notifiedAt, error) bool) {
		var past time.Time // when the first of a later event was stored
		for msg, err := range c.readSince(ctx, StreamNotifications, filter, since) {
			if err != nil {
				yield(notifiedAt{}, err)
				return
			}
			switch of := roomSeqOf(msg.Data); {
			case of > roomSeq && past.IsZero():
				past = msg.Time
				continue
			case of > roomSeq && msg.Time.Sub(past) > within:
				return
			case of != roomSeq:
				continue
			}
			// What cannot be read is nobody's notification.
			s, err := events.ParseLogSubject(msg.Subject)
			if err == nil && !yield(notifiedAt{user: s.User, seq: msg.Sequence}, nil) {
				return
			}
		}
	}
}

// clockSkew is how far the clocks of two NATS servers may lie apart.
const clockSkew = time.Minute

// firstSince returns the first message of a stream on a subject that was stored
// since a time, or nil if the replica that answers knows of none.
func (c *Conn) firstSince(ctx context.Context, stream, subject string, since time.Time) (*jetstream.RawStreamMsg, error) {
	ctx, cancel := context.WithTimeout(ctx, RequestTimeout)
	defer cancel()
	msgs, err := jetstreamext.GetBatch(ctx, c.js, stream, 1,
		jetstreamext.GetBatchStartTime(since), jetstreamext.GetBatchSubject(subject))
	if err != nil {
		return nil, fmt.Errorf("look into %s: %w", stream, err)
	}
	for msg, err := range msgs {
		if errors.Is(err, jetstreamext.ErrNoMessages) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("look into %s: %w", stream, err)
		}
		return msg, nil
	}
	return nil, fmt.Errorf("look into %s: %w", stream, errShortRead)
}

// Notify adds a user's notification of an event that belongs to a thread to a
// batch.
func (b *Batch) Notify(c *Conn, user events.UserID, room events.RoomID, thread events.EventID, body []byte) {
	if b.room != room || b.thread != thread {
		b.room, b.roomToken, b.thread, b.threadToken = room, events.Token(room), thread, events.Token(thread)
	}
	b.Add(c.notifySubject(events.Token(user), b.roomToken, b.threadToken), nil, body)
}
