package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidwall/gjson"

	"poked/events"
)

// MarkRead removes from a user's log the notifications that read covers and that are
// before a sequence of NOTIFICATIONS, and returns how many they were. Repeating it is
// harmless. With an error it may have removed some.
func (c *Conn) MarkRead(ctx context.Context, user events.UserID, room events.RoomID, read events.Read, before uint64) (removed uint64, err error) {
	filters := []string{c.notifySubject(events.Token(user), events.Token(room), events.AnyThread)}
	if !read.Whole {
		filters = []string{
			c.notifySubject(events.Token(user), events.Token(room), events.Token(read.Thread)),
			c.notifySubject(events.Token(user), events.Token(room), events.Retried),
		}
	}
	for _, filter := range filters {
		n, err := c.markRead(ctx, filter, read.UpTo, before)
		if removed += n; err != nil {
			return removed, fmt.Errorf("remove what is read: %w", err)
		}
	}
	return removed, nil
}

func (c *Conn) markRead(ctx context.Context, filter string, upTo, before uint64) (removed uint64, err error) {
	// The leader is asked first: a user without notifications costs no more than that.
	counts, _, err := c.countNotifications(ctx, filter)
	if err != nil || len(counts) == 0 {
		return 0, err
	}
	last, heard, err := c.readNewest(ctx, Notifications, newest{Filters: []string{filter}})
	switch {
	case errors.Is(err, errTooMany): // more threads than fit one answer
	case err != nil:
		return 0, err
	case len(last) == 0 || heard+1 < before:
		return 0, errBehind
	case allRead(last, counts, upTo, before):
		return c.purge(ctx, filter, before)
	}
	return c.markReadOneByOne(ctx, filter, upTo, before)
}

// allRead reports whether everything is read if the last message of each subject is. Retried
// dead letters are in no order.
func allRead(last []*jetstream.RawStreamMsg, counts map[string]uint64, upTo, before uint64) bool {
	for _, msg := range last {
		disordered := strings.HasSuffix(msg.Subject, "."+events.Retried) && counts[msg.Subject] != 1
		if msg.Sequence >= before || roomSeqOf(msg.Data) > upTo || disordered {
			return false
		}
	}
	return true
}

// roomSeqOf returns the ROOMS sequence of a stored notification.
func roomSeqOf(raw []byte) uint64 { return gjson.GetBytes(raw, "room_seq").Uint() }

// stragglers is how many notifications of later events may precede one that had to be
// written a second time.
const stragglers = logPage

// markReadOneByOne finds the end of what is read by reading the log. The notifications of
// a room are in the order of its events, except for those that had to be written again.
func (c *Conn) markReadOneByOne(ctx context.Context, filter string, upTo, before uint64) (removed uint64, err error) {
	end, beyond := uint64(0), 0
	var late []uint64
	for msg, err := range c.readStored(ctx, Notifications, filter, 1) {
		if err != nil {
			return 0, err
		}
		if msg.Sequence >= before || beyond > stragglers {
			break
		}
		switch read := roomSeqOf(msg.Data) <= upTo; {
		case !read:
			beyond++
		case beyond == 0:
			end = msg.Sequence + 1
		default:
			late = append(late, msg.Sequence)
		}
	}
	if end > 0 {
		if removed, err = c.purge(ctx, filter, end); err != nil {
			return removed, err
		}
	}
	for _, seq := range late {
		if err := c.RemoveNotification(ctx, seq); err != nil {
			return removed, err
		}
		removed++
	}
	return removed, nil
}

// purge removes the messages of NOTIFICATIONS that match filter and are before a
// sequence, and returns how many they were.
func (c *Conn) purge(ctx context.Context, filter string, before uint64) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, RequestTimeout)
	defer cancel()
	request, err := json.Marshal(removalRequest{Filter: filter, Seq: before})
	if err != nil {
		return 0, fmt.Errorf("purge %s: %w", Notifications, err)
	}
	msg, err := c.nc.RequestWithContext(ctx, "$JS.API.STREAM.PURGE."+Notifications, request)
	if err != nil {
		return 0, fmt.Errorf("purge %s: %w", Notifications, err)
	}
	return removed(msg.Data)
}

// RemoveNotification removes one message of NOTIFICATIONS. It is no error if the message
// is gone already.
func (c *Conn) RemoveNotification(ctx context.Context, seq uint64) error {
	ctx, cancel := context.WithTimeout(ctx, RequestTimeout)
	defer cancel()
	err := c.notifications.DeleteMsg(ctx, seq)
	if err == nil || errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil
	}
	if _, getErr := c.notifications.GetMsg(ctx, seq); errors.Is(getErr, jetstream.ErrMsgNotFound) {
		return nil
	}
	return fmt.Errorf("remove notification: %w", err)
}
