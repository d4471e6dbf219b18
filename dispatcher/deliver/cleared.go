package deliver

import (
	"encoding/json"
	"slices"

	"poked/events"
)

// A client that shows notifications wants to remove them once their user has read them elsewhere. A
// badge that falls tells that to those that get badges; a pusher that asks for it (data
// "poked.cleared") gets a poke without an event whether it gets badges or not, with the rooms as
// "poked.cleared_rooms". With Config.ClearedNotifs, one without badges also gets it, without being
// asked for by its data, when a receipt has cleared_notifs (MSC4234). It goes the way of badges: what is read
// within half a second goes together, a lane that lags sends it at the end, once for all rooms.

// cleared is where a user has read something. It does not change once a lane has it.
type cleared struct {
	rooms []events.RoomID // none if there are too many, or nobody knows any more
	many  bool            // there are too many
	asked bool            // a client says that nothing is left to show (MSC4234)
}

// clearedRooms bounds the rooms that one poke lists.
const clearedRooms = 32

// add adds a room.
func (c *cleared) add(room events.RoomID, asked bool) {
	c.asked = c.asked || asked
	if c.many || slices.Contains(c.rooms, room) {
		return
	}
	if c.rooms = append(c.rooms, events.RoomID([]byte(room))); len(c.rooms) > clearedRooms { // a copy: room is part of a message
		c.rooms, c.many = nil, true
	}
}

// and returns both together; c may be nil.
func (c *cleared) and(other *cleared) *cleared {
	if c == nil {
		return other
	}
	both := &cleared{rooms: slices.Clone(c.rooms), many: c.many || other.many, asked: c.asked || other.asked}
	for _, room := range other.rooms {
		both.add(room, false)
	}
	if both.many || len(c.rooms) == 0 || len(other.rooms) == 0 { // of one of them it is not known
		both.rooms = nil
	}
	return both
}

// badgeOnly is the body, as notifications store it, of a poke without an event.
const badgeOnly = `{"prio":"low"}`

// body returns the body of a poke without an event: badgeOnly, with the rooms if they are known.
func (c *cleared) body() []byte {
	if c == nil || len(c.rooms) == 0 {
		return []byte(badgeOnly)
	}
	rooms, _ := json.Marshal(c.rooms) // strings can be encoded
	return append(append([]byte(`{"prio":"low","poked.cleared_rooms":`), rooms...), '}')
}

// clears reports whether the pusher hears of what its user has read.
func (l *lane) clears(c *cleared) bool {
	switch {
	case c == nil, l.pusher.Web != nil && l.pusher.Web.EventsOnly:
		return false
	case l.pusher.Cleared:
		return true
	}
	return c.asked && l.d.ClearedNotifs && l.pusher.NoBadge
}

// anyClears reports whether a pusher of a user hears of what the user has read.
func (d *Deliverer) anyClears(user events.UserID, asked bool) bool {
	c := &cleared{asked: asked}
	return slices.ContainsFunc(d.recipient(user).lanes, func(l *lane) bool { return l.clears(c) })
}
