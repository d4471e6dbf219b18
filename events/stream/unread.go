package stream

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"poked/events"
)

// Unread is what a user was notified of and has not read.
type Unread struct {
	Messages uint64          // notifications; a retried dead letter counts once
	Rooms    []events.RoomID // those with unread notifications, in no order
	// Unsettled reports that the log changed during every count: notifications after upTo
	// may be counted too, and the caller should ask again.
	Unsettled bool

	retried uint64
}

// unreadLooks is how often the log is counted in order to get the same result twice.
const unreadLooks = 4

// Unread returns what a user has not read, as of sequence upTo of NOTIFICATIONS: later
// notifications are not counted, unless the result is Unsettled.
func (c *Conn) Unread(ctx context.Context, user events.UserID) (count Unread, upTo uint64, err error) {
	count, _, err = c.countNotifications(ctx, c.allNotifications(user))
	for look := 1; err == nil && look < unreadLooks; look++ {
		var again Unread
		again, upTo, err = c.countNotifications(ctx, c.allNotifications(user))
		// The server reads the sequence before it counts. If two counts are equal,
		// nothing was stored between the first count and the second sequence.
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

// countNotifications counts the notifications under a filter, according to the leader of
// the stream.
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

// CountNotifications returns how many of a user's notifications are in the log after a
// sequence of NOTIFICATIONS.
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
	info, err := c.notifications.Info(ctx, jetstream.WithSubjectFilter(filter))
	if err != nil {
		return nil, fmt.Errorf("list subjects of notifications: %w", err)
	}
	return slices.Sorted(maps.Keys(info.State.Subjects)), nil
}
