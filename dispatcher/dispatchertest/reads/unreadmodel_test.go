package reads_test

import (
	"slices"

	"poked/events"
)

// modelEvent is a room event as the plain model keeps it.
type modelEvent struct {
	id     events.EventID
	room   events.RoomID
	thread events.EventID
	seq    int // in the order of publishing
}

// modelReceipt is a receipt as it was published.
type modelReceipt struct {
	room   events.RoomID
	user   events.UserID
	event  events.EventID
	whole  bool
	thread events.EventID
}

// modelRedaction is a redaction as it was published, in a room.
type modelRedaction struct {
	room  events.RoomID
	event events.EventID
}

// unreadModel computes what users have unread in the simplest way: it keeps every event, and
// every notification that is not read.
type unreadModel struct {
	events   map[events.EventID]modelEvent
	members  map[events.RoomID]map[events.UserID]bool
	unread   map[events.UserID][]modelEvent
	marked   map[events.UserID]map[events.RoomID]bool // as unread, by the user
	pending  []modelReceipt
	redacted map[modelRedaction]bool
	seq      int
}

func newUnreadModel() *unreadModel {
	return &unreadModel{
		events: map[events.EventID]modelEvent{}, members: map[events.RoomID]map[events.UserID]bool{},
		unread: map[events.UserID][]modelEvent{}, redacted: map[modelRedaction]bool{}, marked: map[events.UserID]map[events.RoomID]bool{},
	}
}

// event adds an event, with the users whom it notifies and the user who has read the room, or
// its thread, by it, if any.
func (m *unreadModel) event(ev modelEvent, notified []events.UserID, reader events.UserID) {
	m.seq++
	ev.seq = m.seq
	m.events[ev.id] = ev
	for _, user := range notified {
		readBefore := slices.ContainsFunc(m.pending, func(r modelReceipt) bool {
			return r.event == ev.id && r.room == ev.room && r.user == user && (r.whole || r.thread == ev.thread)
		})
		if !readBefore && !m.redacted[modelRedaction{ev.room, ev.id}] {
			m.unread[user] = append(m.unread[user], ev)
		}
	}
	if reader != "" {
		m.open(reader, ev.room, ev.thread == "", ev.thread)
		m.read(reader, ev.room, ev.seq, ev.thread == "", ev.thread)
	}
	for _, r := range m.pending {
		if r.event == ev.id && r.room == ev.room {
			m.read(r.user, ev.room, ev.seq, r.whole, r.thread)
		}
	}
}

func (m *unreadModel) read(user events.UserID, room events.RoomID, upTo int, whole bool, thread events.EventID) {
	m.unread[user] = slices.DeleteFunc(m.unread[user], func(ev modelEvent) bool {
		return ev.room == room && ev.seq <= upTo && (whole || ev.thread == thread)
	})
}

// receipt records that a user has read up to an event. A receipt for an event that has not
// arrived is pending.
func (m *unreadModel) receipt(r modelReceipt) {
	m.open(r.user, r.room, r.whole, r.thread)
	if ev, ok := m.events[r.event]; ok && ev.room == r.room {
		m.read(r.user, ev.room, ev.seq, r.whole, r.thread)
		return
	}
	for _, ev := range m.unread[r.user] { // one that is older than what the server keeps
		if ev.id == r.event && ev.room == r.room {
			m.read(r.user, ev.room, ev.seq, r.whole, r.thread)
			return
		}
	}
	m.pending = append(m.pending, r)
}

// open records that a user has opened a room, or only a thread of it.
func (m *unreadModel) open(user events.UserID, room events.RoomID, whole bool, thread events.EventID) {
	if whole || thread == "" {
		m.mark(user, room, false)
	}
}

func (m *unreadModel) mark(user events.UserID, room events.RoomID, unread bool) {
	if m.marked[user] == nil {
		m.marked[user] = map[events.RoomID]bool{}
	}
	m.marked[user][room] = unread
}

// age forgets all events: of those that somebody has not read, the id and the place are known.
func (m *unreadModel) age() {
	m.pending, m.redacted = nil, map[modelRedaction]bool{}
	clear(m.events)
}

func (m *unreadModel) redact(r modelRedaction) {
	m.redacted[r] = true
	for user, list := range m.unread {
		m.unread[user] = slices.DeleteFunc(list, func(ev modelEvent) bool { return ev.id == r.event && ev.room == r.room })
	}
}

// ids returns what a user has unread, in order.
func (m *unreadModel) ids(user events.UserID) (ids []events.EventID) {
	for _, ev := range m.unread[user] {
		ids = append(ids, ev.id)
	}
	return ids
}

func (m *unreadModel) rooms(user events.UserID) int {
	rooms := map[events.RoomID]bool{}
	for _, ev := range m.unread[user] {
		rooms[ev.room] = true
	}
	for room, unread := range m.marked[user] {
		if unread {
			rooms[room] = true
		}
	}
	return len(rooms)
}
