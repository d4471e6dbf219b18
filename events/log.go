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
)

// logPage is how many messages one read of a log asks for.
const logPage = 256

// headerPending is how many messages of a batched read are still to come.
const headerPending = "Nats-Num-Pending"

// headerSource tells where a sourced message came from: its first word is the
// stream, its second the sequence there.
const headerSource = "Nats-Stream-Source"

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

// StateEvent is one event of a room's state.
type StateEvent struct {
	Seq  uint64 // in ROOMS
	Data []byte
}

// RoomState yields the state events that make up a room's state as it was just
// before the ROOMS sequence before, oldest knowledge first: a later event of
// the same type and state key replaces an earlier one.
//
// ROOM_STATE keeps only the newest event of each kind and is filled a moment
// after ROOMS, so what it holds from before is completed with what ROOMS itself
// still has (72 h). Only an event that is older than that and was replaced
// between before and now is missing.
func (c *Conn) RoomState(ctx context.Context, room RoomID, before uint64) iter.Seq2[StateEvent, error] {
	token := Token(room)
	return func(yield func(StateEvent, error) bool) {
		for msg, err := range c.readLog(ctx, streamRoomState, "state."+token+".>", 1) {
			if err != nil {
				yield(StateEvent{}, err)
				return
			}
			seq, ok := sourceSeq(msg.Header.Get(headerSource))
			if ok && seq < before && !yield(StateEvent{Seq: seq, Data: msg.Data}, nil) {
				return
			}
		}
		filter := "rooms." + c.partOf(token) + "." + token + ".state.>"
		for msg, err := range c.readLog(ctx, streamRooms, filter, 1) {
			if err != nil {
				yield(StateEvent{}, err)
				return
			}
			if msg.Sequence >= before || !yield(StateEvent{Seq: msg.Sequence, Data: msg.Data}, nil) {
				return
			}
		}
	}
}

func sourceSeq(header string) (uint64, bool) {
	words := strings.Fields(header)
	if len(words) < 2 {
		return 0, false
	}
	seq, err := strconv.ParseUint(words[1], 10, 64)
	return seq, err == nil
}

// LoggedNotification is a notification as it stands in the log.
type LoggedNotification struct {
	Seq  uint64
	Room RoomID
	Data []byte // for ParseNotification
}

// NotificationsAfter returns up to limit of a user's notifications that stand
// after a sequence of NOTIFICATIONS, in order.
func (c *Conn) NotificationsAfter(ctx context.Context, user UserID, after uint64, limit int) ([]LoggedNotification, error) {
	page, _, err := c.readPage(ctx, streamNotifications, c.notifySubject(Token(user), allRooms), after+1, limit)
	if err != nil {
		return nil, err
	}
	logged := make([]LoggedNotification, 0, len(page))
	for _, msg := range page {
		_, room, err := ParseNotifySubject(msg.Subject)
		if err != nil {
			return nil, err
		}
		logged = append(logged, LoggedNotification{Seq: msg.Sequence, Room: room, Data: msg.Data})
	}
	return logged, nil
}

// UnreadUpTo returns how many notifications a user has left in the log up to
// and including a sequence.
func (c *Conn) UnreadUpTo(ctx context.Context, user UserID, seq uint64) (int, error) {
	subject := c.notifySubject(Token(user), allRooms)
	all, err := c.countFrom(ctx, subject, 1)
	if err != nil {
		return 0, err
	}
	for {
		after, err := c.countFrom(ctx, subject, seq+1)
		if err != nil {
			return 0, err
		}
		again, err := c.countFrom(ctx, subject, 1)
		if err != nil {
			return 0, err
		}
		if again == all { // nothing came between the two counts
			return all - after, nil
		}
		all = again
	}
}

func (c *Conn) countFrom(ctx context.Context, subject string, from uint64) (int, error) {
	page, pending, err := c.readPage(ctx, streamNotifications, subject, from, 1)
	return len(page) + pending, err
}

// HasNotification says whether the notification of the event at ROOMS sequence
// roomSeq is in the user's log. since is when the event was stored: its
// notification cannot be older.
func (c *Conn) HasNotification(ctx context.Context, user UserID, room RoomID, roomSeq uint64, since time.Time) (bool, error) {
	subject := c.notifySubject(Token(user), Token(room))
	from, err := c.firstSince(ctx, subject, since)
	if err != nil || from == 0 {
		return false, err
	}
	for msg, err := range c.readLog(ctx, streamNotifications, subject, from) {
		if err != nil {
			return false, err
		}
		if n, err := ParseNotification(msg.Data); err == nil && n.RoomSeq == roomSeq {
			return true, nil
		}
	}
	return false, nil
}

// clockSkew is how far the clocks of two NATS servers may lie apart.
const clockSkew = time.Minute

// firstSince returns the sequence of the first message on a subject that was
// stored since a time, or 0 if there is none.
func (c *Conn) firstSince(ctx context.Context, subject string, since time.Time) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	msgs, err := jetstreamext.GetBatch(ctx, c.js, streamNotifications, 1,
		jetstreamext.GetBatchStartTime(since.Add(-clockSkew)), jetstreamext.GetBatchSubject(subject))
	if err != nil {
		return 0, fmt.Errorf("look for notification: %w", err)
	}
	for msg, err := range msgs {
		if errors.Is(err, jetstreamext.ErrNoMessages) {
			return 0, nil
		}
		if err != nil {
			return 0, fmt.Errorf("look for notification: %w", err)
		}
		return msg.Sequence, nil
	}
	return 0, fmt.Errorf("look for notification: %w", errShortRead)
}

// Notify adds a user's notification to a batch.
func (b *Batch) Notify(c *Conn, user UserID, room RoomID, body []byte) {
	b.add(c.notifySubject(Token(user), Token(room)), nil, body)
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
