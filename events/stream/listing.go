package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"poked/events"
)

// ListedNotification is a notification that a user has not read.
type ListedNotification struct {
	events.Notification
	Seq  uint64 // in NOTIFICATIONS
	Room events.RoomID
}

const (
	// listingPage is how many messages one read for a listing asks for.
	listingPage = 128
	// listingWindow is how many sequences surely fit such a read, with messages as
	// long as NATS takes them.
	listingWindow = listingPage / 2
	// listingReads bounds how much one call looks through, for one who wants few
	// of very many.
	listingReads = 32
	// listingTries is how often a replica that is behind is asked again, or another
	// one in its place.
	listingTries = 3
)

// ListNotifications returns the notifications that a user has not read and that
// keep accepts, newest first: up to limit of those that stand before a sequence of
// NOTIFICATIONS, or of all if it is 0. The list goes on before next, and ends if
// that is 0. A page may be short, or empty, and not be the last: one call looks
// through so much and no more.
//
// What is listed is what [Conn.Unread] counts. So a dead letter that is tried again
// is not listed beside the notification that it was, and what is silent for all
// devices but some is.
//
// Any replica may answer. None that is behind passes for an empty log: that is an
// error, and so is everything else for which NATS cannot be asked.
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

// listed reads a message of the log. One that cannot be read was reported when it
// came by, and is no notification.
func listed(msg *jetstream.RawStreamMsg) (ListedNotification, bool) {
	_, at, ok := logged(msg)
	if !ok || strings.HasSuffix(msg.Subject, "."+events.Retried) {
		return ListedNotification{}, false
	}
	n, err := events.ParseNotification(at.Data)
	return ListedNotification{Notification: n, Seq: at.Seq, Room: at.Room}, err == nil
}

// backwards walks through what stands under a filter from its end to its
// beginning. The server reads forwards only, from a sequence on, and tells how many
// more there are: so the walk goes by windows of sequences, each read forwards and
// as wide as one answer can hold. A log that fits one answer is one window.
type backwards struct {
	filter string
	end    uint64 // what stands from here on was read; not 0, and no more than one above the newest
	width  uint64 // of the next window, in sequences; 0 is all that there is
	first  uint64 // the sequence of the oldest message, once the first answer has told it
}

// read returns the next window's messages, in order.
func (b *backwards) read(ctx context.Context, c *Conn) ([]*jetstream.RawStreamMsg, error) {
	for {
		start := b.start()
		page, pending, err := c.readPage(ctx, Notifications, b.filter, start, listingPage)
		if err != nil {
			return nil, err
		}
		if len(page) == 0 {
			return nil, errBehind // there is one at least, at or after end-1
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
		// As if they stood at equal distances: some more reads if they do not.
		width := (b.end - oldest) * listingWindow / uint64(len(page)+pending) //nolint:gosec // a count of messages
		b.width = max(listingWindow, min(width, (b.end-start)/2))
	}
}

// start is where the next window begins.
func (b *backwards) start() uint64 {
	if b.width == 0 || b.width >= b.end {
		return max(b.first, 1)
	}
	return max(b.first, b.end-b.width)
}

// take moves on to the window before the one that begins at start, and returns
// what stands in that one. Where little stands, the next one is wider.
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

// ended says whether everything was read.
func (b *backwards) ended() bool { return b.end <= b.first }

// EventOf returns the room event of a notification as the homeserver published it,
// or nil if ROOMS (72 h) does not hold it any more.
func (c *Conn) EventOf(ctx context.Context, n *ListedNotification) ([]byte, error) {
	page, _, err := c.readPage(ctx, Rooms, c.roomEvents(n.Room), n.RoomSeq, 1)
	if err != nil {
		return nil, fmt.Errorf("look up an event: %w", err)
	}
	if len(page) == 0 || page[0].Sequence != n.RoomSeq {
		return nil, nil
	}
	// A stream that was made anew has other events at the same sequences.
	ev, err := events.ParseRoomEvent(page[0].Data)
	if err != nil || ev.EventID != n.EventID || ev.RoomID != n.Room {
		return nil, nil //nolint:nilerr // whatever stands there is not the event
	}
	return ev.Raw, nil
}
