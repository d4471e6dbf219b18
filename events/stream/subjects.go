package stream

import (
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
