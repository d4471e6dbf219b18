package match

import (
	"context"

	"poked/events"
)

// redaction is a redaction event, as far as it decides what it changes.
type redaction struct {
	id     events.EventID
	target events.EventID
	sender events.UserID
	anyone bool // the sender may redact the events of everybody
}

// redactionBy returns what an event redacts, or nil if it redacts nothing. r is the room
// just before the event.
func (r *room) redactionBy(ev *events.RoomEvent) *redaction {
	target := r.redactedBy(ev)
	if target == "" {
		return nil
	}
	return &redaction{id: ev.EventID, target: target, sender: ev.Sender, anyone: r.mayRedactAnyone(ev.Sender)}
}

// redactedBy returns the id of the event that ev redacts, or "" if ev is no redaction. Since
// room version 11 it is in content, before that beside it (Matrix specification,
// m.room.redaction; homeservers copy it to the other place for clients). While the version
// is not known, either place counts unless they differ.
func (r *room) redactedBy(ev *events.RoomEvent) events.EventID {
	if ev.IsState || ev.Type != "m.room.redaction" {
		return ""
	}
	inside, beside := textOf(ev.Content, "redacts"), textOf(ev.Raw, "redacts")
	switch {
	case r.version == "" && inside == "":
		return events.EventID(beside)
	case r.version == "" && beside != "" && beside != inside:
		return ""
	case r.version == "" || r.version.atLeast(11):
		return events.EventID(inside)
	}
	return events.EventID(beside)
}

// mayRedactAnyone reports whether a user has the power to redact the events of everybody
// (Matrix specification, room version 3, "Handling redactions"). Without m.room.create the
// room's state is not known, and the homeserver, which checks the same, is believed.
func (r *room) mayRedactAnyone(user events.UserID) bool {
	const needed = 50 // without m.room.power_levels
	facts := r.rulesRoom(user)
	switch {
	case r.version == "", facts.SenderIsCreator:
		return true
	case r.levels == nil:
		return facts.SenderLevel >= needed
	}
	return facts.SenderLevel >= r.levels.Redact
}

// appliesTo reports whether the redaction changes an event of this sender: users may always
// redact the events of their own server.
func (d *redaction) appliesTo(author events.UserID) bool {
	return d.anyone || d.sender.Server() == author.Server()
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
	case known:
		return "", mark{} // it has not arrived
	}
	return target, mark{}
}

// redact writes for each user who has the notification of a redacted event that it was
// redacted, and redacts the room's state. If the event has not arrived, the redaction waits
// for it.
func (m *Matcher) redact(ctx context.Context, f *fanout, r *room, s *search, d *redaction) error {
	stands, err := m.redactState(ctx, f, r, d)
	if err != nil {
		return err
	}
	k, found, _ := m.locate(r, s, d.target)
	if !found {
		if stands { // it set state, longer ago than ROOMS keeps
			return nil
		}
		m.pending.add(&pendingItem{f: f, room: r.id, event: d.target, redaction: d})
		return nil
	}
	if s == nil || !d.appliesTo(s.author) {
		return nil // it notified nobody, or the sender may not redact it
	}
	for _, n := range s.notified {
		gone := events.Redaction{RoomID: r.id, RoomSeq: k.seq, Seq: n.Seq, Users: n.Users}
		if err := f.add(ctx, n.Part, gone.AppendJSON(nil)); err != nil {
			return err
		}
	}
	return nil
}
