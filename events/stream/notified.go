package stream

import (
	"context"
	"iter"
	"slices"
	"time"

	"poked/events"
)

// HasNotification says whether the notification of the event at ROOMS sequence
// roomSeq, in a thread, is in the user's log. since is when the event was stored:
// its notification cannot be older.
func (c *Conn) HasNotification(ctx context.Context, user events.UserID, room events.RoomID, thread events.EventID, roomSeq uint64, since time.Time) (bool, error) {
	for _, err := range c.notified(ctx, c.notifySubject(events.Token(user), events.Token(room), events.Token(thread)), roomSeq, since, writtenWithin) {
		return err == nil, err
	}
	return false, nil
}

// WithNotification returns all users in whose log the notification of that event
// is, and at which sequences of NOTIFICATIONS: more than one if it was a dead
// letter and is tried again. For many users it is far cheaper than to ask for each
// of them: it reads the room's notifications since then once.
func (c *Conn) WithNotification(ctx context.Context, room events.RoomID, roomSeq uint64, since time.Time) (map[events.UserID][]uint64, error) {
	users := map[events.UserID][]uint64{}
	inRoom := string(events.LogNotify) + ".*.*." + events.Token(room) + "."
	again, err := c.subjectsOf(ctx, inRoom+events.Retried)
	if err != nil {
		return nil, err
	}
	filters := map[string]time.Duration{inRoom + events.AnyThread: writtenWithin}
	for _, subject := range again { // mostly none
		filters[subject] = neverPast
	}
	for filter, within := range filters {
		for at, err := range c.notified(ctx, filter, roomSeq, since, within) {
			if err != nil {
				return nil, err
			}
			if !slices.Contains(users[at.user], at.seq) {
				users[at.user] = append(users[at.user], at.seq)
			}
		}
	}
	return users, nil
}

// The notifications of a room are written in the order of its events, but for
// those that have to be written again. Once ones of later events have been coming
// for writtenWithin, no more of an event are looked for; those of a dead letter
// that is tried again may come at any time.
const (
	writtenWithin = 10 * time.Minute
	neverPast     = 365 * 24 * time.Hour
)

// notifiedAt is where a user's notification stands.
type notifiedAt struct {
	user events.UserID
	seq  uint64
}

// notified yields where the notifications of one event stand on the subjects that
// match filter.
func (c *Conn) notified(ctx context.Context, filter string, roomSeq uint64, since time.Time, within time.Duration) iter.Seq2[notifiedAt, error] {
	return func(yield func(notifiedAt, error) bool) {
		var past time.Time // when the first of a later event was stored
		for msg, err := range c.readSince(ctx, Notifications, filter, since) {
			if err != nil {
				yield(notifiedAt{}, err)
				return
			}
			switch of := roomSeqOf(msg.Data); {
			case of > roomSeq && past.IsZero():
				past = msg.Time
				continue
			case of > roomSeq && msg.Time.Sub(past) > within:
				return
			case of != roomSeq:
				continue
			}
			// What cannot be read is nobody's notification.
			s, err := events.ParseLogSubject(msg.Subject)
			if err == nil && !yield(notifiedAt{user: s.User, seq: msg.Sequence}, nil) {
				return
			}
		}
	}
}
