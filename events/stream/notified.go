package stream

import (
	"context"
	"iter"
	"slices"
	"time"

	"github.com/tidwall/gjson"

	"poked/events"
)

// WithNotification returns all users whose log has the notification of an event, with its
// sequences in NOTIFICATIONS: more than one if it was retried as a dead letter. It also
// returns the sender of the event, or "" if there is no notification. It reads the room's
// notifications since then once, which is far cheaper than to ask for each of many users.
func (c *Conn) WithNotification(ctx context.Context, room events.RoomID, roomSeq uint64, since time.Time) (users map[events.UserID][]uint64, sender events.UserID, err error) {
	users = map[events.UserID][]uint64{}
	inRoom := string(events.LogNotify) + ".*.*." + events.Token(room) + "."
	again, err := c.subjectsOf(ctx, inRoom+events.Retried)
	if err != nil {
		return nil, "", err
	}
	filters := map[string]time.Duration{inRoom + events.AnyThread: writtenWithin}
	for _, subject := range again { // mostly none
		filters[subject] = neverPast
	}
	for filter, within := range filters {
		for at, err := range c.notified(ctx, filter, roomSeq, since, within) {
			if err != nil {
				return nil, "", err
			}
			if sender = at.sender; !slices.Contains(users[at.user], at.seq) {
				users[at.user] = append(users[at.user], at.seq)
			}
		}
	}
	return users, sender, nil
}

// The notifications of a room are written in the order of its events, except for those that
// are written again. The search for an event's notifications ends once those of later
// events span writtenWithin; retried dead letters may be anywhere (neverPast).
const (
	writtenWithin = 10 * time.Minute
	neverPast     = 365 * 24 * time.Hour
)

// notifiedAt is the place of a user's notification.
type notifiedAt struct {
	user   events.UserID
	seq    uint64
	sender events.UserID // of the event
}

// notified yields the places of one event's notifications on the subjects that match
// filter.
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
			// A message on an unreadable subject is no user's notification.
			s, err := events.ParseLogSubject(msg.Subject)
			if err == nil && !yield(notifiedAt{user: s.User, seq: msg.Sequence, sender: senderOf(msg.Data)}, nil) {
				return
			}
		}
	}
}

// senderOf returns the sender of the event of a stored notification.
func senderOf(raw []byte) events.UserID {
	return events.UserID(gjson.GetBytes(raw, "notification.sender").Str)
}
