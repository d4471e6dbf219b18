package stream

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"poked/events"
)

// LoggedNotification is a notification as NOTIFICATIONS stores it.
type LoggedNotification struct {
	Seq  uint64 // in NOTIFICATIONS
	Room events.RoomID
	Data []byte // for ParseNotification

	subject string
}

// logged parses a message's subject. An unreadable one was reported when it was first
// read.
func logged(msg *jetstream.RawStreamMsg) (user events.UserID, n LoggedNotification, ok bool) {
	s, err := events.ParseLogSubject(msg.Subject)
	return s.User, LoggedNotification{Seq: msg.Sequence, Room: s.Room, Data: msg.Data, subject: msg.Subject}, err == nil
}

// NewestInRooms returns, for each of the users, the newest notification in each thread of
// each room, by sequence, as of the sequence asOf of NOTIFICATIONS or later. The server
// answers from its index of subjects, however long the log is, and many users cost little
// more than one. Any replica may answer; if it is behind asOf, that is an error, and the
// caller asks again.
func (c *Conn) NewestInRooms(ctx context.Context, users []events.UserID, asOf uint64) (map[events.UserID][]LoggedNotification, error) {
	filters := make([]string, 0, len(users))
	for _, user := range users {
		filters = append(filters, c.allNotifications(user))
	}
	page, heard, err := c.readNewest(ctx, Notifications, newest{Filters: filters})
	switch {
	case errors.Is(err, errTooMany) && len(users) > 1:
		return c.newestOneByOne(ctx, users, asOf)
	case errors.Is(err, errTooMany):
		page, err = c.readAllForNewest(ctx, Notifications, filters[0])
	case err == nil && len(page) == 0:
		err = c.checkNone(ctx, Notifications, filters...)
	case err == nil && heard < asOf:
		err = errBehind
	}
	if err != nil {
		return nil, fmt.Errorf("read newest notifications: %w", err)
	}
	all := make(map[events.UserID][]LoggedNotification, len(users))
	for _, msg := range page {
		if user, n, ok := logged(msg); ok {
			all[user] = append(all[user], n)
		}
	}
	return all, nil
}

func (c *Conn) newestOneByOne(ctx context.Context, users []events.UserID, asOf uint64) (map[events.UserID][]LoggedNotification, error) {
	all := make(map[events.UserID][]LoggedNotification, len(users))
	for _, user := range users {
		one, err := c.NewestInRooms(ctx, []events.UserID{user}, asOf)
		if err != nil {
			return nil, err
		}
		all[user] = one[user]
	}
	return all, nil
}

// NotificationsInRoom returns up to limit of a user's notifications after a sequence of
// NOTIFICATIONS, in order, from the room and thread of newest, and how many more there
// are. newest is one that [Conn.NewestInRooms] returned, after that sequence; an answer
// without it is an error.
func (c *Conn) NotificationsInRoom(ctx context.Context, newest LoggedNotification, after uint64, limit int) (page []LoggedNotification, more int, err error) {
	var msgs []*jetstream.RawStreamMsg
	for from := after + 1; len(msgs) < limit && err == nil; from = msgs[len(msgs)-1].Sequence + 1 {
		var some []*jetstream.RawStreamMsg
		some, more, err = c.readPage(ctx, Notifications, newest.subject, from, min(limit-len(msgs), logPage))
		if msgs = append(msgs, some...); more == 0 {
			break
		}
	}
	if err == nil && more == 0 && (len(msgs) == 0 || msgs[len(msgs)-1].Sequence < newest.Seq) {
		err = errBehind
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read notifications from a room: %w", err)
	}
	for _, msg := range msgs {
		if _, n, ok := logged(msg); ok {
			page = append(page, n)
		}
	}
	return page, more, nil
}
