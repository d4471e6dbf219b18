package stream

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"poked/events"
)

// LoggedNotification is a notification as NOTIFICATIONS stores it.
type LoggedNotification struct {
	Seq  uint64 // in NOTIFICATIONS
	Data []byte // for ParseNotification
}

// NotificationsIn returns up to limit of a user's notifications in a thread of a room, in
// order, after a sequence of NOTIFICATIONS, and how many more there are. last is the
// sequence of one that is known to be there, after that sequence; an answer that ends before
// it is an error. The server scans the blocks of the stream for them: it is for what is older
// than what the caller remembers.
func (c *Conn) NotificationsIn(ctx context.Context, user events.UserID, room events.RoomID, thread string, last, after uint64, limit int) (page []LoggedNotification, more int, err error) {
	subject := c.notifySubject(events.Token(user), events.Token(room), thread)
	var msgs []*jetstream.RawStreamMsg
	for from := after + 1; len(msgs) < limit && err == nil; from = msgs[len(msgs)-1].Sequence + 1 {
		var some []*jetstream.RawStreamMsg
		some, more, err = c.readPage(ctx, Notifications, subject, from, min(limit-len(msgs), logPage))
		if msgs = append(msgs, some...); more == 0 {
			break
		}
	}
	if err == nil && more == 0 && (len(msgs) == 0 || msgs[len(msgs)-1].Sequence < last) {
		err = c.checkRemoved(ctx, last)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read notifications of a thread: %w", err)
	}
	for _, msg := range msgs {
		page = append(page, LoggedNotification{Seq: msg.Sequence, Data: msg.Data})
	}
	return page, more, nil
}

// checkRemoved confirms with the leader that a message of NOTIFICATIONS, which a replica does
// not have, was removed. If not, the replica is behind. A leader that was cut off, and does
// not know the sequence yet, does not count.
func (c *Conn) checkRemoved(ctx context.Context, seq uint64) error {
	info, err := c.notifications.Info(ctx)
	if err != nil {
		return fmt.Errorf("look for message %d: %w", seq, err)
	}
	msg, err := c.askLeader(ctx, Notifications, query{From: seq})
	if err == nil && (msg != nil || info.State.LastSeq < seq) {
		err = errBehind
	}
	return err
}
