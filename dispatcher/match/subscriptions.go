package match

import (
	"poked/events"
	"poked/events/partition"
)

// maxSubscriptions bounds how many subscriptions to threads match keeps of a room. Each takes about
// 40 bytes; those beyond count as if they did not exist, and are logged.
const maxSubscriptions = 1 << 18

// subscriptions are the users who are subscribed to each thread of a room (MSC4306).
type subscriptions struct {
	threads map[events.EventID]map[events.UserID]struct{}
	count   int
}

// set applies one subscription, and reports whether there was room for it.
func (s *subscriptions) set(sub events.ThreadSubscription, limit int) bool {
	users := s.threads[sub.Thread]
	_, had := users[sub.UserID]
	switch {
	case had == sub.Subscribed:
	case had:
		s.count--
		if delete(users, sub.UserID); len(users) == 0 {
			delete(s.threads, sub.Thread)
		}
	case s.count >= limit:
		return false
	default:
		s.count++
		if users == nil {
			if s.threads == nil {
				s.threads = map[events.EventID]map[events.UserID]struct{}{}
			}
			users = map[events.UserID]struct{}{}
			s.threads[copyOf(sub.Thread)] = users
		}
		users[sub.UserID] = struct{}{}
	}
	return true
}

// subscribe applies a subscription to the room. It reports whether there was room for it.
func (r *room) subscribe(sub events.ThreadSubscription) bool {
	if m := r.members[sub.UserID]; m != nil {
		sub.UserID = m.id // one copy is enough
	} else {
		sub.UserID = copyOf(sub.UserID)
	}
	return r.subscriptions.set(sub, maxSubscriptions)
}

// readSubscription applies a message about who is subscribed to a thread. Rooms that are not
// in memory find it in their state later.
func (m *Matcher) readSubscription(msg partition.Message) {
	sub, err := events.ParsePublishedThreadSubscription(msg.Published(), msg.Data)
	if r, open := m.rooms.open.Peek(sub.RoomID); open && r.seq < msg.Seq {
		if !r.subscribe(sub) {
			m.cfg.Log.Warn("a room has too many subscriptions to threads, one is ignored", "room_id", string(r.id), "limit", maxSubscriptions)
		}
		r.seq = msg.Seq
	}
	if err != nil {
		m.reject(msg, events.DeadBadEvent, err)
		return
	}
	m.done(msg)
}
