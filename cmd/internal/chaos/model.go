package chaos

import (
	"slices"

	"poked/events"
)

// model computes from what was published, as simply as possible, what must be delivered.
// It is the only place that knows what a receipt clears: a user's unread notifications are,
// in each room, those after the user's last receipt or message, without redacted ones.
type model struct{}

// notifies reports whether an utterance notifies a member of its room.
func (model) notifies(u utterance, user events.UserID) bool {
	return u.kind == isMessage && u.by != user && (u.only == nil || u.only[user])
}

// unread returns what a user has not read in a room, in order.
func (m model) unread(room *chatRoom, user events.UserID) []events.EventID {
	var unread []events.EventID
	said := map[events.EventID]int{}
	for n, u := range room.said {
		switch {
		case u.kind == isRedaction:
			unread = slices.DeleteFunc(unread, func(e events.EventID) bool { return e == u.event })
		case u.kind == isReceipt && u.by == user:
			unread = slices.DeleteFunc(unread, func(e events.EventID) bool { return said[e] <= said[u.event] })
		case u.kind == isMessage && u.by == user:
			unread = nil
		case m.notifies(u, user):
			unread = append(unread, u.event)
		}
		if u.kind == isMessage {
			said[u.event] = n
		}
	}
	return unread
}

// owed returns the pokes that must have arrived: for each pusher, its user's notifications
// that are still unread.
func (m model) owed(c *cast) []told {
	var owed []told
	for _, room := range c.rooms {
		for _, user := range room.members {
			if user.late {
				continue // it is not known from when on
			}
			for _, event := range m.unread(room, user.id) {
				owed = append(owed, user.toldOf(event)...)
			}
		}
	}
	return owed
}

// toldOf returns one poke of the event for each of the user's pushers.
func (u *person) toldOf(event events.EventID) []told {
	var all []told
	for _, key := range u.pushkeys {
		all = append(all, told{key, event})
	}
	return all
}

// badge returns how many notifications a user has unread in all rooms.
func (m model) badge(c *cast, user *person) int {
	n := 0
	for _, room := range c.rooms {
		if slices.Contains(room.members, user) {
			n += len(m.unread(room, user.id))
		}
	}
	return n
}
