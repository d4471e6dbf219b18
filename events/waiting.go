package events

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// LoggedNotification is a notification as it stands in the log.
type LoggedNotification struct {
	Seq  uint64 // in NOTIFICATIONS
	Room RoomID
	Data []byte // for ParseNotification
}

// logged reads a message's subject. One that cannot be read was reported when it
// came by.
func logged(msg *jetstream.RawStreamMsg) (user UserID, n LoggedNotification, ok bool) {
	user, room, err := ParseNotifySubject(msg.Subject)
	return user, LoggedNotification{Seq: msg.Sequence, Room: room, Data: msg.Data}, err == nil
}

// NewestInRooms returns the newest notification from each room that each of the
// users has in the log, by sequence. The server answers from its index of
// subjects, however long the log is, and for many users at once at nearly the
// cost of one.
func (c *Conn) NewestInRooms(ctx context.Context, users []UserID) (map[UserID][]LoggedNotification, error) {
	filters := make([]string, 0, len(users))
	for _, user := range users {
		filters = append(filters, c.notifySubject(Token(user), allRooms))
	}
	page, err := c.readLastPage(ctx, streamNotifications, filters, 0)
	if err != nil && ctx.Err() == nil && len(users) > 1 {
		return c.newestOneByOne(ctx, users) // too many rooms for one answer
	}
	if err != nil && ctx.Err() == nil {
		page, err = c.readNewest(ctx, filters[0])
	}
	if err != nil {
		return nil, fmt.Errorf("read newest notifications: %w", err)
	}
	newest := make(map[UserID][]LoggedNotification, len(users))
	for _, msg := range page {
		if user, n, ok := logged(msg); ok {
			newest[user] = append(newest[user], n)
		}
	}
	return newest, nil
}

func (c *Conn) newestOneByOne(ctx context.Context, users []UserID) (map[UserID][]LoggedNotification, error) {
	all := make(map[UserID][]LoggedNotification, len(users))
	for _, user := range users {
		newest, err := c.NewestInRooms(ctx, []UserID{user})
		if err != nil {
			return nil, err
		}
		all[user] = newest[user]
	}
	return all, nil
}

// readNewest reads the whole of one user's log: more rooms than the server tells
// the last message of at once.
func (c *Conn) readNewest(ctx context.Context, filter string) ([]*jetstream.RawStreamMsg, error) {
	last := map[string]uint64{}
	var page []*jetstream.RawStreamMsg
	for msg, err := range c.readLog(ctx, streamNotifications, filter, 1) {
		if err != nil {
			return nil, err
		}
		last[msg.Subject] = msg.Sequence
		page = append(page, msg)
	}
	newest := page[:0]
	for _, msg := range page {
		if last[msg.Subject] == msg.Sequence {
			newest = append(newest, msg)
		}
	}
	return newest, nil
}

// NotificationsInRoom returns up to limit of a user's notifications from one
// room that stand after a sequence of NOTIFICATIONS, in order, and how many more
// there are.
func (c *Conn) NotificationsInRoom(ctx context.Context, user UserID, room RoomID, after uint64, limit int) (page []LoggedNotification, more int, err error) {
	msgs, more, err := c.readPage(ctx, streamNotifications, c.notifySubject(Token(user), Token(room)), after+1, limit)
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
