package events

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/tidwall/gjson"
)

// TypeThreadSubscription is the type of the message by which a homeserver tells that a user is
// subscribed to a thread, or not any more (MSC4306).
const TypeThreadSubscription = "io.element.msc4306.thread_subscription"

// ThreadSubscription is that a user is subscribed to a thread of a room, or not any more. It is a
// part of the room's state: ROOM_STATE keeps the newest of each user and thread.
type ThreadSubscription struct {
	RoomID     RoomID  `json:"room_id"`
	Thread     EventID `json:"thread_id"` // its root
	UserID     UserID  `json:"user_id"`
	Subscribed bool    `json:"subscribed"`
}

// threadState begins what follows the room in the subject of a subscription. Two tokens follow it,
// so it is no subject of a state event, which has two after "state".
const threadState = "state.thread."

// IsThreadSubscription reports whether rest, what follows room.<room>. in a subject, is that
// of a thread subscription.
func IsThreadSubscription(rest string) bool {
	ids, found := strings.CutPrefix(rest, threadState)
	return found && strings.Count(ids, ".") == 1
}

// Subject returns the subject on which a homeserver publishes the subscription:
// room.<room>.state.thread.<thread>.<user>.
func (s ThreadSubscription) Subject() string {
	return "room." + Token(s.RoomID) + "." + threadState + Token(s.Thread) + "." + Token(s.UserID)
}

// Encode returns the subscription as a homeserver publishes it. Errors wrap [ErrBadEvent].
func (s ThreadSubscription) Encode() ([]byte, error) {
	raw, err := json.Marshal(struct {
		Type string `json:"type"`
		ThreadSubscription
	}{TypeThreadSubscription, s})
	if err != nil {
		return nil, fmt.Errorf("encode subscription: %w", err)
	}
	_, err = ParseThreadSubscription(raw)
	return raw, err
}

// ParseThreadSubscription parses {"type":"io.element.msc4306.thread_subscription","room_id":…,
// "thread_id":…,"user_id":…,"subscribed":true}. Errors wrap [ErrBadEvent].
func ParseThreadSubscription(raw []byte) (s ThreadSubscription, err error) {
	doc, err := parseTyped(raw, TypeThreadSubscription)
	if err != nil {
		return s, err
	}
	subscribed := doc.Get("subscribed")
	if !subscribed.IsBool() {
		return s, fmt.Errorf("%w: subscribed is not a boolean", ErrBadEvent)
	}
	s.Subscribed = subscribed.Bool()
	for _, id := range []struct {
		key string
		set func(string)
	}{
		{"room_id", func(id string) { s.RoomID = RoomID(id) }},
		{"thread_id", func(id string) { s.Thread = EventID(id) }},
		{"user_id", func(id string) { s.UserID = UserID(id) }},
	} {
		value := doc.Get(id.key)
		if value.Type != gjson.String || !IsID(value.Str) {
			return ThreadSubscription{}, fmt.Errorf("%w: %s must have 1 to %d bytes", ErrBadEvent, id.key, MaxIDBytes)
		}
		id.set(value.Str)
	}
	return s, nil
}

// ParsePublishedThreadSubscription parses a subscription as [ParseThreadSubscription] does, and
// checks its subject. With an error it returns what the message counts as, since it replaces
// what was stored on its subject: that the user of the subject is not subscribed.
func ParsePublishedThreadSubscription(subject string, raw []byte) (ThreadSubscription, error) {
	s, err := ParseThreadSubscription(raw)
	if err == nil && s.Subject() != subject {
		err = fmt.Errorf("%w: its subject is none of its room, thread and user: published on %s, expected on %s", ErrBadEvent, subject, s.Subject())
	}
	if err != nil {
		return unsubscribedOn(subject), err
	}
	return s, nil
}

// unsubscribedOn returns who is not subscribed, and to what, by a subject; the zero value if it
// has no such subject.
func unsubscribedOn(subject string) ThreadSubscription {
	tokens := strings.Split(subject, ".")
	if len(tokens) != 6 {
		return ThreadSubscription{}
	}
	room, errRoom := ParseToken[RoomID](tokens[1])
	thread, errThread := ParseToken[EventID](tokens[4])
	user, errUser := ParseToken[UserID](tokens[5])
	if errors.Join(errRoom, errThread, errUser) != nil {
		return ThreadSubscription{}
	}
	return ThreadSubscription{RoomID: room, Thread: thread, UserID: user}
}
