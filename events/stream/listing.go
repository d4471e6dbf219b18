package stream

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"poked/events"
	"poked/events/wait"
)

// ListedNotification is an unread notification of a user.
type ListedNotification struct {
	events.Notification
	Seq  uint64 // in NOTIFICATIONS
	Room events.RoomID
}

// ListQuery asks for unread notifications of a user.
type ListQuery struct {
	User      events.UserID `json:"user_id"`
	Before    uint64        `json:"before,omitempty"` // sequence in NOTIFICATIONS, or 0 for the newest
	Limit     int           `json:"limit"`
	Highlight bool          `json:"highlight,omitempty"` // only highlights
	// Room and Event name the only event to look for, if they are set.
	Room  events.RoomID  `json:"room_id,omitempty"`
	Event events.EventID `json:"event_id,omitempty"`
}

// IsUnread reports whether a user has not read an event of a room that notified them, under
// the terms of [Conn.ListNotifications].
func (c *Conn) IsUnread(ctx context.Context, user events.UserID, room events.RoomID, event events.EventID) (bool, error) {
	page, _, err := c.ListNotifications(ctx, ListQuery{User: user, Room: room, Event: event, Limit: listedTwins})
	return slices.ContainsFunc(page, func(n ListedNotification) bool { return n.EventID == event }), err
}

// listedTwins is how many events may have the same hash in [Conn.IsUnread].
const listedTwins = 8

// listAnswer is the answer of a dispatcher, as JSON.
type listAnswer struct {
	Notifications []listedJSON `json:"notifications"`
	Next          uint64       `json:"next,omitempty"`
	ownerError
}

type listedJSON struct {
	Seq          uint64          `json:"seq"`
	Room         events.RoomID   `json:"room_id"`
	Notification json.RawMessage `json:"notification"` // see [events.Notification.AppendJSON]
}

// listedBytes is how many bytes end an answer: NATS takes 1 MiB.
const listedBytes = 512 << 10

// ListNotifications returns the unread notifications of a user, newest first: up to limit
// of those before a sequence of NOTIFICATIONS, or of all if that is 0. next is the Before of
// the next page, or 0 after the last. A page may be short without being the last.
//
// The dispatcher that owns the user's partition answers. While there is none, as during a
// take-over, the question is repeated for a few seconds.
//
// It lists what the unread count counts: a retried dead letter is not listed a second time,
// and a notification that is silent for all devices but some is listed.
func (c *Conn) ListNotifications(ctx context.Context, query ListQuery) (page []ListedNotification, next uint64, err error) {
	raw, err := json.Marshal(query)
	if err != nil {
		return nil, 0, fmt.Errorf("list notifications: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, ownerTakeOver)
	defer cancel()
	for {
		var answer listAnswer
		err := c.askOwner(ctx, listSubject(c.topology.PartOf(query.User)), ownerPatience, raw, &answer)
		if err == nil {
			page, err = answer.read()
			return page, answer.Next, err
		}
		if !c.Connected() || wait.For(ctx, wait.RetryPause) != nil {
			return nil, 0, fmt.Errorf("list notifications: %w", err)
		}
	}
}

func (a *listAnswer) read() (page []ListedNotification, err error) {
	for _, one := range a.Notifications {
		n, err := events.ParseNotification(one.Notification)
		if err != nil {
			return nil, fmt.Errorf("list notifications: %w", err)
		}
		page = append(page, ListedNotification{Notification: n, Seq: one.Seq, Room: one.Room})
	}
	return page, nil
}

func answerOf(ctx context.Context, query ListQuery, list func(context.Context, ListQuery) ([]ListedNotification, uint64, error)) (answer listAnswer, err error) {
	page, next, err := list(ctx, query)
	if err != nil {
		return answer, err
	}
	answer.Next = next
	size := 0
	for i := range page {
		raw := page[i].AppendJSON(nil)
		if size += len(raw); size > listedBytes && i > 0 {
			answer.Next = page[i-1].Seq
			break
		}
		answer.Notifications = append(answer.Notifications, listedJSON{Seq: page[i].Seq, Room: page[i].Room, Notification: raw})
	}
	return answer, nil
}

// EventOf returns the room event of a notification as the homeserver published it, or nil
// if ROOMS no longer holds it.
func (c *Conn) EventOf(ctx context.Context, n *ListedNotification) ([]byte, error) {
	page, _, err := c.ReadPage(ctx, c.topology.RoomsOf(n.Room), c.topology.RoomEvents(n.Room), n.RoomSeq, 1)
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
