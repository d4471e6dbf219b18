package events

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
	"github.com/tidwall/gjson"
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
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
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

// Unread returns how many notifications a user has left in the log, and up to
// which sequence of NOTIFICATIONS that holds: later ones are not counted.
func (c *Conn) Unread(ctx context.Context, user UserID) (count, upTo uint64, err error) {
	count, _, err = c.countUnread(ctx, user)
	for err == nil {
		var again uint64
		again, upTo, err = c.countUnread(ctx, user)
		// The server reads the sequence before it counts. If two counts are the
		// same, nothing came between the first of them and the second sequence.
		if again == count {
			return count, upTo, err
		}
		count = again
	}
	return 0, 0, err
}

func (c *Conn) countUnread(ctx context.Context, user UserID) (count, lastSeq uint64, err error) {
	info, err := c.notifications.Info(ctx, jetstream.WithSubjectFilter(c.notifySubject(Token(user), allRooms)))
	if err != nil {
		return 0, 0, fmt.Errorf("count unread: %w", err)
	}
	for _, inRoom := range info.State.Subjects {
		count += inRoom
	}
	return count, info.State.LastSeq, nil
}

// CountNotifications returns how many of a user's notifications stand in the log
// after a sequence of NOTIFICATIONS.
func (c *Conn) CountNotifications(ctx context.Context, user UserID, after uint64) (uint64, error) {
	page, pending, err := c.readPage(ctx, streamNotifications, c.notifySubject(Token(user), allRooms), after+1, 1)
	return uint64(len(page) + pending), err //nolint:gosec // a count of messages
}

// HasNotification says whether the notification of the event at ROOMS sequence
// roomSeq is in the user's log. since is when the event was stored: its
// notification cannot be older.
func (c *Conn) HasNotification(ctx context.Context, user UserID, room RoomID, roomSeq uint64, since time.Time) (bool, error) {
	for _, err := range c.notified(ctx, c.notifySubject(Token(user), Token(room)), roomSeq, since) {
		return err == nil, err
	}
	return false, nil
}

// WithNotification returns all users in whose log the notification of that event
// is. For many users it is far cheaper than to ask for each of them: it reads
// the room's notifications since then once.
func (c *Conn) WithNotification(ctx context.Context, room RoomID, roomSeq uint64, since time.Time) (map[UserID]bool, error) {
	users := map[UserID]bool{}
	for user, err := range c.notified(ctx, "notify.*.*."+Token(room), roomSeq, since) {
		if err != nil {
			return nil, err
		}
		users[user] = true
	}
	return users, nil
}

// notified yields the users of the notifications of one event on the subjects
// that match filter.
func (c *Conn) notified(ctx context.Context, filter string, roomSeq uint64, since time.Time) iter.Seq2[UserID, error] {
	return func(yield func(UserID, error) bool) {
		from, err := c.firstSince(ctx, streamNotifications, filter, since)
		if err != nil {
			yield("", err)
			return
		}
		if from == 0 {
			return
		}
		for msg, err := range c.readLog(ctx, streamNotifications, filter, from) {
			if err != nil {
				yield("", err)
				return
			}
			if gjson.GetBytes(msg.Data, "room_seq").Uint() != roomSeq {
				continue
			}
			// What cannot be read is nobody's notification.
			user, _, err := ParseNotifySubject(msg.Subject)
			if err == nil && !yield(user, nil) {
				return
			}
		}
	}
}

// clockSkew is how far the clocks of two NATS servers may lie apart.
const clockSkew = time.Minute

// firstSince returns the sequence of the first message of a stream on a subject
// that was stored since a time, or 0 if there is none.
func (c *Conn) firstSince(ctx context.Context, stream, subject string, since time.Time) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	msgs, err := jetstreamext.GetBatch(ctx, c.js, stream, 1,
		jetstreamext.GetBatchStartTime(since.Add(-clockSkew)), jetstreamext.GetBatchSubject(subject))
	if err != nil {
		return 0, fmt.Errorf("look into %s: %w", stream, err)
	}
	for msg, err := range msgs {
		if errors.Is(err, jetstreamext.ErrNoMessages) {
			return 0, nil
		}
		if err != nil {
			return 0, fmt.Errorf("look into %s: %w", stream, err)
		}
		return msg.Sequence, nil
	}
	return 0, fmt.Errorf("look into %s: %w", stream, errShortRead)
}

// Notify adds a user's notification to a batch.
func (b *Batch) Notify(c *Conn, user UserID, room RoomID, body []byte) {
	if b.room != room {
		b.room, b.roomToken = room, Token(room)
	}
	b.add(c.notifySubject(Token(user), b.roomToken), nil, body)
}

// ParseNotifySubject returns the user and room of a message in NOTIFICATIONS.
func ParseNotifySubject(subject string) (UserID, RoomID, error) {
	tokens := strings.Split(subject, ".")
	if len(tokens) != 4 {
		return "", "", fmt.Errorf("%w: subject has %d tokens", ErrBadNotification, len(tokens))
	}
	user, err := ParseToken[UserID](tokens[2])
	if err != nil {
		return "", "", fmt.Errorf("%w: user: %w", ErrBadNotification, err)
	}
	room, err := ParseToken[RoomID](tokens[3])
	if err != nil {
		return "", "", fmt.Errorf("%w: room: %w", ErrBadNotification, err)
	}
	return user, room, nil
}
