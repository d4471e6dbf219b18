package match

import (
	"time"

	"poked/events"
	"poked/events/partition"
	"poked/events/pushrule"
)

// locate returns the mark of an event of a room, from the room's timeline, from the search
// that was made for this message, or from the archive. It reads nothing from NATS: known is
// false if the event must be looked up in ROOMS first.
func (m *Matcher) locate(r *room, s *search, id events.EventID) (k mark, found, known bool) {
	k, found = r.timeline.find(id)
	if found && !k.past {
		return k, true, true
	}
	var older mark
	var foundOlder bool
	if s != nil {
		older, foundOlder = s.found[id]
	} else {
		older, _, foundOlder = m.archive.find(r.id, id)
	}
	if foundOlder && (!found || !older.past) {
		k, found = older, true
	}
	return k, found, s != nil || found && !k.past || m.archive.covers(r.id, r.timeline.from)
}

// placeOf returns where an event belongs, as far as the timeline and the archive know.
func (m *Matcher) placeOf(r *room, content []byte) place {
	return placeOf(content, func(id events.EventID) place {
		if k, found := r.timeline.find(id); found {
			return r.timeline.roots.decode(k.thread)
		}
		_, in, _ := m.archive.find(r.id, id)
		return in
	})
}

// unknownParent returns the event whose thread decides about the thread of ev, if it must be
// looked up, and "" otherwise: also if nobody would notice, because ev notifies nobody and
// none of poked's users sent it. An event whose parent ROOMS does not hold any more
// counts as in the main timeline.
func (m *Matcher) unknownParent(r *room, ev *events.RoomEvent) events.EventID {
	kind, parent := relationOf(ev.Content)
	if parent == "" || kind == "m.thread" || parent == ev.EventID {
		return ""
	}
	if _, found, known := m.locate(r, nil, parent); found || known {
		return ""
	}
	if !m.mayNotify(ev, r) && !m.cfg.Directory.Knows(readerOf(ev, r)) {
		return ""
	}
	return parent
}

// mayNotify reports whether an event may notify somebody, whatever its thread is.
func (m *Matcher) mayNotify(ev *events.RoomEvent, r *room) bool {
	return len(r.subscriptions.threads) > 0 && m.cfg.Directory.Offers()&pushrule.MSC4306 != 0 || len(m.evaluator.evaluate(ev, r, "")) > 0
}

const (
	// lateAfter is how old an event may be when it is stored, by its sender's clock, to
	// count as new without a search: NATS recognizes a repeated id for ten minutes.
	lateAfter = 9 * time.Minute
	// clockAhead is how far the sender's clock may be ahead of that of NATS.
	clockAhead = time.Minute
)

// isRepeated reports whether the homeserver published an event a second time, long after
// the first: then it notifies nobody. An event that was only published as historical does
// not count as the first: it may have arrived with the state of a room while it was in
// flight. known is false if the event must be looked up first.
func (m *Matcher) isRepeated(r *room, s *search, ev *events.RoomEvent, msg partition.Message) (repeated, known bool) {
	if msg.Historical {
		return false, true // it notifies nobody anyway
	}
	k, found, known := m.locate(r, s, ev.EventID)
	if found && !k.past {
		return k.seq < msg.Seq, true
	}
	return false, known || isFresh(ev, msg)
}

// isFresh reports whether NATS would have recognized an event that it had stored before: it
// was published under its own id, and was sent within the time for which NATS remembers
// ids. An event without a time, or from a clock that is ahead, is not fresh.
func isFresh(ev *events.RoomEvent, msg partition.Message) bool {
	age := msg.Time.Sub(time.UnixMilli(ev.OriginServerTS))
	return msg.ID == string(ev.EventID) && age > -clockAhead && age < lateAfter
}
