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
	page, pending, err := c.readPage(ctx, Notifications, c.allNotifications(user), after+1, 1)
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
