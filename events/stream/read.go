package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidwall/gjson"

	"poked/events"
)

// Read adds to a batch how far a user has read a room. It takes the place of what
// was said of the same thread before, so it must not say less.
func (b *Batch) Read(c *Conn, user events.UserID, room events.RoomID, read events.Read) {
	thread := events.Token(read.Thread)
	if read.Whole {
		thread = events.WholeRoom
	}
	body, err := json.Marshal(read)
	if err != nil { // cannot happen for a number and strings
		return
	}
	b.Add(c.userSubject(events.LogRead, events.Token(user))+"."+events.Token(room)+"."+thread, nats.Header{
		jetstream.MsgRollup: []string{jetstream.MsgRollupSubject},
	}, body)
}

// Redacted adds to a batch that the event of one of a user's notifications was
// redacted.
func (b *Batch) Redacted(c *Conn, user events.UserID, room events.RoomID, seq uint64) {
	body, err := json.Marshal(events.Redaction{Seq: seq})
	if err != nil { // cannot happen for a number
		return
	}
	b.Add(c.userSubject(events.LogRedacted, events.Token(user))+"."+events.Token(room), nil, body)
}

// ReadOf returns how far a user has read a room, one value for each thread that
// anything was said of.
func (c *Conn) ReadOf(ctx context.Context, user events.UserID, room events.RoomID) ([]events.Read, error) {
	filter := c.userSubject(events.LogRead, events.Token(user)) + "." + events.Token(room) + "." + events.AnyThread
	var reads []events.Read
	for msg, err := range c.newestStored(ctx, StreamNotifications, filter) {
		if err != nil {
			return nil, fmt.Errorf("look up how far a room is read: %w", err)
		}
		if r, err := events.ParseRead(msg.Data); err == nil { // what cannot be read says nothing
			reads = append(reads, r)
		}
	}
	return reads, nil
}

// ReadsSince returns what users have read of a room of whom that was stored since a
// time.
func (c *Conn) ReadsSince(ctx context.Context, room events.RoomID, since time.Time) (map[events.UserID][]events.Read, error) {
	filter := string(events.LogRead) + ".*.*." + events.Token(room) + "." + events.AnyThread
	reads := map[events.UserID][]events.Read{}
	for msg, err := range c.readSince(ctx, StreamNotifications, filter, since) {
		if err != nil {
			return nil, err
		}
		s, subjectErr := events.ParseLogSubject(msg.Subject)
		r, readErr := events.ParseRead(msg.Data)
		if subjectErr == nil && readErr == nil {
			reads[s.User] = append(reads[s.User], r)
		}
	}
	return reads, nil
}

// MarkRead removes from a user's log what read covers and what stands before a
// sequence of NOTIFICATIONS, and returns how many notifications that were. It may
// be called again: what is gone is not missed. With an error it may have removed
// some.
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
	// The leader is asked first: who has nothing left costs no more than that.
	if n, _, err := c.countNotifications(ctx, filter); err != nil || n.Messages+n.retried == 0 {
		return 0, err
	}
	last, heard, err := c.readNewest(ctx, StreamNotifications, newest{Filters: []string{filter}})
	switch {
	case errors.Is(err, errTooMany): // more threads than the server tells of at once
	case err != nil:
		return 0, err
	case len(last) == 0 || heard+1 < before:
		return 0, errBehind
	case allRead(last, upTo, before):
		return c.purge(ctx, filter, before)
	}
	return c.markReadOneByOne(ctx, filter, upTo, before)
}

func allRead(last []*jetstream.RawStreamMsg, upTo, before uint64) bool {
	for _, msg := range last {
		if msg.Sequence >= before || roomSeqOf(msg.Data) > upTo {
			return false
		}
	}
	return true
}

// roomSeqOf returns the ROOMS sequence of a notification as it is stored.
func roomSeqOf(raw []byte) uint64 { return gjson.GetBytes(raw, "room_seq").Uint() }

// stragglers is how far, in notifications, one that had to be written a second
// time may stand behind later ones of its room.
const stragglers = logPage

// markReadOneByOne finds where what is read ends. Notifications of a room stand in
// the order of its events, but for those that had to be written again.
func (c *Conn) markReadOneByOne(ctx context.Context, filter string, upTo, before uint64) (removed uint64, err error) {
	end, beyond := uint64(0), 0
	var late []uint64
	for msg, err := range c.readStored(ctx, StreamNotifications, filter, 1) {
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

// purge removes from NOTIFICATIONS what matches filter and stands before a
// sequence, and returns how much that was.
func (c *Conn) purge(ctx context.Context, filter string, before uint64) (removed uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, RequestTimeout)
	defer cancel()
	request := `{"filter":` + strconv.Quote(filter) + `,"seq":` + strconv.FormatUint(before, 10) + `}`
	msg, err := c.nc.RequestWithContext(ctx, "$JS.API.STREAM.PURGE."+StreamNotifications, []byte(request))
	if err != nil {
		return 0, fmt.Errorf("purge %s: %w", StreamNotifications, err)
	}
	var answer struct {
		Purged uint64              `json:"purged"`
		Error  *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(msg.Data, &answer); err != nil {
		return 0, fmt.Errorf("purge %s: %w", StreamNotifications, err)
	}
	if answer.Error != nil {
		return 0, fmt.Errorf("purge %s: %w", StreamNotifications, answer.Error)
	}
	return answer.Purged, nil
}

// RemoveNotification removes one message of NOTIFICATIONS, which may be gone
// already.
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
