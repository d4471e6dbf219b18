package stream

import (
	"context"
	"fmt"

	"poked/events"
)

// ReadOf returns how far a user has read a room: one value for each thread with a read
// marker, and one for the whole room.
func (c *Conn) ReadOf(ctx context.Context, user events.UserID, room events.RoomID) ([]events.Read, error) {
	filter := c.userSubject(events.LogRead, events.Token(user)) + "." + events.Token(room) + "." + events.AnyThread
	var reads []events.Read
	for msg, err := range c.newestStored(ctx, Notifications, filter) {
		if err != nil {
			return nil, fmt.Errorf("look up how far a room is read: %w", err)
		}
		if r, err := events.ParseRead(msg.Data); err == nil { // an unreadable marker is skipped
			reads = append(reads, r)
		}
	}
	return reads, nil
}
