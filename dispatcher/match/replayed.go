package match

import (
	"context"
	"slices"

	"poked/events"
	"poked/events/partition"
	"poked/events/wait"
)

// askOneByOne is up to how many users match asks one log after another for a notification.
const askOneByOne = 8

// withoutStored leaves out users whose notification an earlier owner has stored, and users
// who have read the event since.
func (m *Matcher) withoutStored(ctx context.Context, msg partition.Message, ev *events.RoomEvent, thread events.EventID, notified []decision) ([]decision, error) {
	if len(notified) == 0 {
		return nil, nil
	}
	var stored map[events.UserID]bool
	var reads map[events.UserID][]events.Read
	err := wait.Until(ctx, wait.RetryPause, m.failed, func() (err error) {
		if stored, err = m.stored(ctx, msg, ev, thread, notified); err == nil {
			reads, err = m.cfg.Conn.ReadsSince(ctx, ev.RoomID, msg.Time)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(notified, func(d decision) bool {
		return stored[d.member.id] || slices.ContainsFunc(reads[d.member.id], func(read events.Read) bool {
			return read.Covers(msg.Seq, thread)
		})
	}), nil
}

// stored returns which of the users whom an event notifies have the notification.
func (m *Matcher) stored(ctx context.Context, msg partition.Message, ev *events.RoomEvent, thread events.EventID, notified []decision) (map[events.UserID]bool, error) {
	stored := map[events.UserID]bool{}
	if len(notified) > askOneByOne {
		all, err := m.cfg.Conn.WithNotification(ctx, ev.RoomID, msg.Seq, msg.Time)
		for id := range all {
			stored[id] = true
		}
		return stored, err
	}
	for i := range notified {
		id := notified[i].member.id
		has, err := m.cfg.Conn.HasNotification(ctx, id, ev.RoomID, thread, msg.Seq, msg.Time)
		if err != nil {
			return nil, err
		}
		stored[id] = has
	}
	return stored, nil
}
