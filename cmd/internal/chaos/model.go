package chaos

import (
	"slices"

	"poked/events"
)

// model computes from what was published, as simply as possible, what must be delivered.
// It is the only place that knows what a receipt clears: a user's unread notifications are,
// in each room, those after the user's last receipt or message, without redacted ones.
type model struct{}

// notifies reports whether a message notifies a member of its room.
func (model) notifies(u publication, user events.UserID) bool {
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

// expected returns the pokes that must have arrived: for each pusher, its user's
// notifications that are still unread.
func (m model) expected(c *population) []delivery {
	var expected []delivery
	for _, room := range c.rooms {
		for _, user := range room.members {
			if user.late {
				continue // it is not known when a dispatcher learns of the pusher
			}
			for _, event := range m.unread(room, user.id) {
				expected = append(expected, user.deliveriesOf(event)...)
			}
		}
	}
	return expected
}

// deliveriesOf returns one poke of the event for each of the user's pushers.
func (u *person) deliveriesOf(event events.EventID) []delivery {
	var all []delivery
	for _, key := range u.pushkeys {
		all = append(all, delivery{key, event})
	}
	return all
}

// badge returns how many notifications a user has unread in all rooms.
func (m model) badge(c *population, user *person) int {
	n := 0
	for _, room := range c.rooms {
		if slices.Contains(room.members, user) {
			n += len(m.unread(room, user.id))
		}
	}
	return n
}
