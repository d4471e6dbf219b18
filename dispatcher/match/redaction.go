package match

import (
	"context"

	"github.com/tidwall/gjson"

	"poked/events"
)

// redactedBy returns the event that a redaction redacts, or "" if ev is none (Matrix
// specification, m.room.redaction: in content since room version 11, beside it before).
func redactedBy(ev *events.RoomEvent) events.EventID {
	if ev.IsState || ev.Type != "m.room.redaction" {
		return ""
	}
	if id := textOf(ev.Content, "redacts"); id != "" {
		return events.EventID(id)
	}
	return events.EventID(gjson.GetBytes(ev.Raw, "redacts").Str)
}

// toRedact returns the event to look up for a redaction, "" if there is nothing to look up,
// and its mark if that is known.
func (m *Matcher) toRedact(r *room, ev *events.RoomEvent, target events.EventID) (events.EventID, mark) {
	if target == ev.EventID {
		return "", mark{}
	}
	k, found, known := m.locate(r, nil, target)
	switch {
	case found && known && k.silent:
		return "", mark{} // it notified nobody
	case found && known:
		return target, k
	case known && m.archive.coversUnread(r.id, ""):
		return "", mark{} // it has not arrived
	}
	return target, mark{}
}

// redact writes for each user who has the notification of a redacted event that it was
// redacted. If the event has not arrived, the redaction waits for it.
func (m *Matcher) redact(ctx context.Context, f *fanout, r *room, s *search, target events.EventID) error {
	if _, found, _ := m.locate(r, s, target); !found {
		m.pending.add(&pendingItem{f: f, room: r.id, event: target, redaction: true})
		return nil
	}
	if s == nil {
		return nil // it notified nobody
	}
	for user, seqs := range s.stored {
		for _, seq := range seqs {
			if err := f.addRedacted(ctx, user, r.id, seq); err != nil {
				return err
			}
		}
	}
	return nil
}
