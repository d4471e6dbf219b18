package match

import (
	"context"

	"github.com/tidwall/gjson"

	"poked/events"
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

// toRedact returns what has to be looked up for a redaction, "" if nothing, and where
// its event stands if that is known.
func (m *Matcher) toRedact(r *room, ev *events.RoomEvent, target events.EventID) (events.EventID, mark) {
	if target == ev.EventID {
		return "", mark{}
	}
	k, found, known := m.locate(r, nil, target)
	switch {
	case found && known && k.silent:
		return "", mark{} // nobody was notified
	case found && known:
		return target, k
	case known && m.archive.coversUnread(r.id, ""):
		return "", mark{} // it has yet to come
	}
	return target, mark{}
}

// redact has the notifications of a redacted event leave their users' logs. They
// are stored: the event stands before its redaction in the room.
func (m *Matcher) redact(ctx context.Context, f *fanout, r *room, s *search, target events.EventID) error {
	if _, found, _ := m.locate(r, s, target); !found {
		m.pending.add(&pendingWord{f: f, room: r.id, event: target, redaction: true})
		return nil
	}
	if s == nil {
		return nil // nobody was notified
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
