package match

import (
	"time"

	"poked/events"
	"poked/events/partition"
)

// locate returns where an event of a room stands: as its timeline knows, or what a
// search for this message has found, or as the archive knows. It reads nothing: known
// is false if it has to be looked up in ROOMS first.
func (m *Matcher) locate(r *room, s *search, id events.EventID) (k mark, found, known bool) {
	k, found = r.timeline.find(id)
	if found && !k.past {
		return k, true, true
	}
	var older mark
	var was bool
	if s != nil {
		older, was = s.found[id]
	} else {
		older, _, was = m.archive.find(r.id, id)
	}
	if was && (!found || !older.past) {
		k, found = older, true
	}
	return k, found, s != nil || found && !k.past || m.archive.covers(r.id, r.timeline.from)
}

// threadOf returns the root of the thread that an event belongs to, as far as is
// remembered.
func (m *Matcher) threadOf(r *room, content []byte) events.EventID {
	return threadOf(content, func(id events.EventID) events.EventID {
		if k, found := r.timeline.find(id); found {
			return r.timeline.roots.root(k.thread)
		}
		_, thread, _ := m.archive.find(r.id, id)
		return thread
	})
}

const (
	// lateAfter is how old an event may be when it is stored, by what its sender says,
	// to be taken for new without a look at what there was before: NATS recognizes an
	// id for ten minutes.
	lateAfter = 9 * time.Minute
	// clockAhead is how far the sender's clock may be ahead of that of NATS.
	clockAhead = time.Minute
)

// isRepeated reports whether the homeserver published an event a second time, long
// after the first: then it is nobody's news. What was published as historical is
// not: it may have come with the state of a room while it was on its way. known is
// false if it has to be looked up first.
func (m *Matcher) isRepeated(r *room, s *search, ev *events.RoomEvent, msg partition.Message) (repeated, known bool) {
	if msg.Historical {
		return false, true // nobody is notified of it anyway
	}
	k, found, known := m.locate(r, s, ev.EventID)
	if found && !k.past {
		return k.seq < msg.Seq, true
	}
	return false, known || isFresh(ev, msg)
}

// isFresh reports whether NATS would have recognized an event that it had stored
// before: it was published under its own id, and was sent within the time for which
// ids are remembered. A sender whose clock is ahead, or who tells no time, says nothing
// of that.
func isFresh(ev *events.RoomEvent, msg partition.Message) bool {
	age := msg.Time.Sub(time.UnixMilli(ev.OriginServerTS))
	return msg.ID == string(ev.EventID) && age > -clockAhead && age < lateAfter
}
