package stream

import (
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"

	"poked/events"
)

// userSubject is where what is of one kind stands for a user.
func (c *Conn) userSubject(kind events.LogKind, userToken string) string {
	return string(kind) + "." + c.partOf(userToken) + "." + userToken
}

// notifySubject is where a user's notifications from a thread of a room stand;
// "*" in place of the thread's token names all of the room.
func (c *Conn) notifySubject(userToken, roomToken, threadToken string) string {
	return c.userSubject(events.LogNotify, userToken) + "." + roomToken + "." + threadToken
}

// allNotifications is where all notifications of a user stand.
func (c *Conn) allNotifications(user events.UserID) string {
	return c.userSubject(events.LogNotify, events.Token(user)) + ".>"
}

// HeaderHistorical marks a room event that changes state and notifies nobody:
// one from before the homeserver began to publish, say. Its value is "true".
const HeaderHistorical = "Poked-Historical"

func IsHistorical(header nats.Header) bool {
	return strings.EqualFold(header.Get(HeaderHistorical), "true")
}

// kvSubject is where the value of a bucket's key is published (NATS ADR-8).
func kvSubject(bucket, key string) string { return "$KV." + bucket + "." + key }

// keyOf returns the key that a bucket's message belongs to: what [kvSubject] was given.
func keyOf(subject string) string {
	_, rest, _ := strings.Cut(strings.TrimPrefix(subject, "$KV."), ".")
	return rest
}

func (c *Conn) userKey(user events.UserID) string {
	token := events.Token(user)
	return c.partOf(token) + "." + token
}

// partOf returns the partition of a room or user.
func (c *Conn) partOf(token string) string {
	return strconv.Itoa(events.PartitionOf(token, c.partitions))
}

// roomSubject is where ROOMS holds what is published under room.<room>.
func (c *Conn) roomSubject(room events.RoomID) string {
	token := events.Token(room)
	return "rooms." + c.partOf(token) + "." + token
}

func (c *Conn) storedSubject(ev *events.RoomEvent) string {
	return c.roomSubject(ev.RoomID) + ev.Subject()[len("room.")+len(events.Token(ev.RoomID)):]
}

// roomEvents is where what is published of a room stands, its receipts too.
func (c *Conn) roomEvents(room events.RoomID) string {
	token := events.Token(room)
	return "rooms." + c.partOf(token) + "." + token + ".>"
}
