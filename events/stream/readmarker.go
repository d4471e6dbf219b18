package stream

import (
	"context"
	"fmt"
	"time"

	"poked/events"
)

// ReadOf returns how far a user has read a room, one value for each thread that
// anything was said of.
func (c *Conn) ReadOf(ctx context.Context, user events.UserID, room events.RoomID) ([]events.Read, error) {
	filter := c.userSubject(events.LogRead, events.Token(user)) + "." + events.Token(room) + "." + events.AnyThread
	var reads []events.Read
	for msg, err := range c.newestStored(ctx, Notifications, filter) {
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
	for msg, err := range c.readSince(ctx, Notifications, filter, since) {
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
