package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"poked/events"
)

// ListedNotification is an unread notification of a user.
type ListedNotification struct {
	events.Notification
	Seq  uint64 // in NOTIFICATIONS
	Room events.RoomID
}

const (
	// listingPage is how many messages one read of a listing asks for.
	listingPage = 128
	// listingWindow is how many sequences surely fit one read, even with messages of the
	// maximum size.
	listingWindow = listingPage / 2
	// listingReads limits how much one call scans when few messages of very many match.
	listingReads = 32
	// listingTries is how often a replica that is behind, or another in its place, is
	// asked.
	listingTries = 3
)

// ListNotifications returns the unread notifications of a user that keep accepts, newest
// first: up to limit of those before a sequence of NOTIFICATIONS, or of all if before is 0.
// next is the before of the next page, or 0 after the last. A page may be short, or empty,
// without being the last, since one call scans a limited part of the log.
//
// It lists what [Conn.Unread] counts: a retried dead letter is not listed a second time,
// and a notification that is silent for all devices but some is listed.
//
// Any replica may answer. A replica that is behind is an error, as is any other failure
// to ask NATS: the list is never shorter than it should be.
func (c *Conn) ListNotifications(ctx context.Context, user events.UserID, before uint64, limit int, keep func(*events.Notification) bool) (page []ListedNotification, next uint64, err error) {
	for range listingTries {
		page, next, err = c.listNotifications(ctx, user, before, limit, keep)
		if !errors.Is(err, errBehind) {
			break
		}
	}
	if err != nil {
		return nil, 0, fmt.Errorf("list notifications: %w", err)
	}
	return page, next, nil
}

func (c *Conn) listNotifications(ctx context.Context, user events.UserID, before uint64, limit int, keep func(*events.Notification) bool) (page []ListedNotification, next uint64, err error) {
	newest, err := c.askLeader(ctx, Notifications, query{Last: c.allNotifications(user)})
	if err != nil || newest == nil {
		return nil, 0, err
	}
	b := backwards{filter: c.allNotifications(user), end: newest.Sequence + 1}
	if before > 0 {
		b.end = min(b.end, before)
	}
	for range listingReads {
		msgs, err := b.read(ctx, c)
		if err != nil {
			return nil, 0, err
		}
		for _, msg := range slices.Backward(msgs) {
			n, ok := listed(msg)
			if !ok || !keep(&n.Notification) {
				continue
			}
			if len(page) == limit {
				return page, page[limit-1].Seq, nil
			}
			page = append(page, n)
		}
		if b.ended() {
			return page, 0, nil
		}
	}
	return page, b.end, nil
}

// listed parses a message of the log. An unreadable one was reported when it was first
// read, and is skipped.
func listed(msg *jetstream.RawStreamMsg) (ListedNotification, bool) {
	s, err := events.ParseLogSubject(msg.Subject)
	if err != nil || s.Thread == events.Retried {
		return ListedNotification{}, false
	}
	n, err := events.ParseNotification(msg.Data)
	return ListedNotification{Notification: n, Seq: msg.Sequence, Room: s.Room}, err == nil
}

// backwards reads the messages under a filter from the last to the first. The server
// reads only forwards from a sequence, and reports how many messages are left. So the
// range is split into windows of sequences, each as wide as one answer can hold and read
// forwards. A log that fits one answer is one window.
type backwards struct {
	filter string
	end    uint64 // everything from here on was read; not 0, and at most one above the newest sequence
	width  uint64 // of the next window, in sequences; 0 means everything
	first  uint64 // the sequence of the oldest message, after the first answer
}

// read returns the messages of the next window, in order.
func (b *backwards) read(ctx context.Context, c *Conn) ([]*jetstream.RawStreamMsg, error) {
	for {
		start := b.start()
		page, pending, err := c.readPage(ctx, Notifications, b.filter, start, listingPage)
		if err != nil {
			return nil, err
		}
		if len(page) == 0 {
			return nil, errBehind // at least the message at end-1 or after it exists
		}
		oldest, last := page[0].Sequence, page[len(page)-1].Sequence
		if b.first == 0 {
			b.first = oldest
		}
		switch {
		case last+1 >= b.end:
			return b.take(page, start), nil
		case pending == 0:
			return nil, errBehind
		case b.end-start <= listingWindow:
			return nil, errShortRead
		}
		// This assumes equal distances; if they differ, it takes some more reads.
		width := (b.end - oldest) * listingWindow / uint64(len(page)+pending) //nolint:gosec // a count of messages
		b.width = max(listingWindow, min(width, (b.end-start)/2))
	}
}

// start returns the first sequence of the next window.
func (b *backwards) start() uint64 {
	if b.width == 0 || b.width >= b.end {
		return max(b.first, 1)
	}
	return max(b.first, b.end-b.width)
}

// take moves on to the window before the one that begins at start, and returns the
// messages of that one. Where messages are sparse, the next window is wider.
func (b *backwards) take(page []*jetstream.RawStreamMsg, start uint64) []*jetstream.RawStreamMsg {
	after := slices.IndexFunc(page, func(msg *jetstream.RawStreamMsg) bool { return msg.Sequence >= b.end })
	if after >= 0 {
		page = page[:after]
	}
	b.end = start
	if len(page) < listingWindow/2 {
		b.width *= 2
	}
	return page
}

// ended reports whether everything was read.
func (b *backwards) ended() bool { return b.end <= b.first }

// EventOf returns the room event of a notification as the homeserver published it, or nil
// if ROOMS no longer holds it (72 h).
func (c *Conn) EventOf(ctx context.Context, n *ListedNotification) ([]byte, error) {
	page, _, err := c.readPage(ctx, Rooms, c.roomEvents(n.Room), n.RoomSeq, 1)
	if err != nil {
		return nil, fmt.Errorf("look up an event: %w", err)
	}
	if len(page) == 0 || page[0].Sequence != n.RoomSeq {
		return nil, nil
	}
	// In a stream that was made anew, the sequence may belong to another event.
	ev, err := events.ParseRoomEvent(page[0].Data)
	if err != nil || ev.EventID != n.EventID || ev.RoomID != n.Room {
		return nil, nil //nolint:nilerr // another message is at that sequence
	}
	return ev.Raw, nil
}
