package owner

import (
	"context"
	"encoding/json"
	"fmt"

	"poked/events"
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

// listAnswer is the answer of a dispatcher, as JSON.
type listAnswer struct {
	Notifications []listedJSON `json:"notifications"`
	Next          uint64       `json:"next,omitempty"`
	failure
}

type listedJSON struct {
	Seq          uint64          `json:"seq"`
	Room         events.RoomID   `json:"room_id"`
	Notification json.RawMessage `json:"notification"` // see [events.Notification.AppendJSON]
}

// listedBytes is how many bytes end an answer: NATS takes 1 MiB.
const listedBytes = 512 << 10

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
