package match

import (
	"slices"

	"github.com/tidwall/gjson"

	"poked/events"
	"poked/events/pushrule"
)

// member is a user who is or was in a room.
type member struct {
	id          events.UserID
	membership  string
	displayName string
}

// room is what match knows of a room's state: only what push rules and pokes
// ask for. The goroutine that follows the room's partition owns it.
type room struct {
	id      events.RoomID
	seq     uint64 // newest event in ROOMS that is folded in
	name    string
	alias   string
	creator events.UserID
	// creators of a room of version 12 or later, whose power has no limit; nil
	// for older versions.
	creators map[events.UserID]bool
	levels   *pushrule.PowerLevels // nil while there are none
	members  map[events.UserID]*member
	joined   int

	audience audience
	people   *people // kept for names made of people; nil after they changed

	*recall
}

// recall is what match remembers of a room beside its state. It is of the room, not of
// its state at a time: an earlier state that is loaded once more, for an event that is
// matched again, shares it.
type recall struct {
	timeline      timeline
	lastNotifying lastNotifying
	markers       map[events.UserID]*marker // of members who have read since the room was opened
}

func newRoom(id events.RoomID) *room {
	return &room{id: id, members: map[events.UserID]*member{}, recall: &recall{markers: map[events.UserID]*marker{}}}
}

// begin says that nothing is remembered of a room but its state just before a sequence.
func (r *room) begin(seq uint64) {
	r.seq, r.lastNotifying.since, r.timeline.from = seq-1, seq-1, seq
}

// fold takes in a state event.
func (r *room) fold(ev *events.RoomEvent) {
	switch {
	case ev.Type == "m.room.member":
		r.foldMember(ev)
	case ev.StateKey != "":
	case ev.Type == "m.room.name":
		r.name = textOf(ev.Content, "name")
	case ev.Type == "m.room.canonical_alias":
		r.alias = textOf(ev.Content, "alias")
	case ev.Type == "m.room.power_levels":
		levels := pushrule.ParsePowerLevels(ev.Content)
		r.levels = &levels
	case ev.Type == "m.room.create":
		r.foldCreate(ev)
	}
}

func (r *room) foldMember(ev *events.RoomEvent) {
	id := events.UserID(ev.StateKey)
	if id == "" {
		return
	}
	m := r.members[id]
	if m == nil {
		m = &member{id: id}
		r.members[id] = m
	}
	was := m.membership
	m.membership = textOf(ev.Content, "membership")
	m.displayName = textOf(ev.Content, "displayname")
	r.people = nil
	if was == m.membership {
		return
	}
	if was == "join" {
		r.joined--
	}
	if m.membership == "join" {
		r.joined++
	}
	r.audience.move(id)
}

func (r *room) foldCreate(ev *events.RoomEvent) {
	r.creator = ev.Sender
	r.creators = nil
	if !creatorsHaveUnlimitedPower(textOf(ev.Content, "room_version")) {
		return
	}
	r.creators = map[events.UserID]bool{ev.Sender: true}
	for _, also := range gjson.GetBytes(ev.Content, "additional_creators").Array() {
		if also.Type == gjson.String {
			r.creators[events.UserID(also.Str)] = true
		}
	}
}

// creatorsHaveUnlimitedPower holds for room version 12 and what comes after it.
// The older versions that anyone may meet are "1" to "11"; a version that is
// not one of them is taken for a newer one, or built on one.
func creatorsHaveUnlimitedPower(version string) bool {
	old := []string{"", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11"}
	return !slices.Contains(old, version)
}

// rulesRoom returns what push rules ask about the room when sender sends.
func (r *room) rulesRoom(sender events.UserID) pushrule.Room {
	facts := pushrule.Room{MemberCount: r.joined, SenderIsCreator: r.creators[sender]}
	switch {
	case r.levels != nil:
		facts.SenderLevel = r.levels.Of(string(sender))
		facts.NotificationLevels = r.levels.Notifications
	case sender == r.creator:
		facts.SenderLevel = 100 // before there are power levels, the creator has 100 and all others 0
	}
	return facts
}

// displayName returns a member's own name, or "".
func (r *room) displayName(id events.UserID) string {
	if m := r.members[id]; m != nil {
		return m.displayName
	}
	return ""
}

// membership returns what a user is to the room, or "".
func (r *room) membership(id events.UserID) string {
	if m := r.members[id]; m != nil {
		return m.membership
	}
	return ""
}

// textOf returns a string member of a JSON object, or "" if it is absent or
// anything else.
func textOf(object []byte, key string) string {
	if value := gjson.GetBytes(object, key); value.Type == gjson.String {
		return value.Str
	}
	return ""
}
