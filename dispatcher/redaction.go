package dispatcher

import (
	"context"

	"github.com/tidwall/gjson"

	"poked/events"
	"poked/events/wait"
)

// redactedBy returns which event a redaction is of, or "" (Matrix specification,
// m.room.redaction: in content since room version 11, beside it before).
func redactedBy(ev *events.RoomEvent) events.EventID {
	if ev.IsState || ev.Type != "m.room.redaction" {
		return ""
	}
	if id := textOf(ev.Content, "redacts"); id != "" {
		return events.EventID(id)
	}
	return events.EventID(gjson.GetBytes(ev.Raw, "redacts").Str)
}

// redact has the notifications of a redacted event leave their users' logs. They
// are stored: the event stands before its redaction in the room.
func (m *matcher) redact(ctx context.Context, f *fanout, r *room, target events.EventID) error {
	k, found, err := m.locate(ctx, r, target)
	switch {
	case err != nil:
		return err
	case !found:
		m.early.add(&earlyWord{f: f, room: r.id, event: target, redaction: true})
		return nil
	case k.silent:
		return nil
	}
	var stored map[events.UserID][]uint64
	err = wait.Until(ctx, wait.RetryPause, m.failed, func() (err error) {
		stored, err = m.conn.WithNotification(ctx, r.id, k.seq, k.since())
		return err
	})
	for user, seqs := range stored {
		for _, seq := range seqs {
			if err == nil {
				err = f.addRedacted(ctx, user, r.id, seq)
			}
		}
	}
	return err
}
