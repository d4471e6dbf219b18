package match

import (
	"strings"

	"github.com/tidwall/gjson"

	"poked/events"
	"poked/events/pushrule"
)

// member is a user who is or was in a room.
type member struct {
	id          events.UserID
	membership  string
	displayName string
	event       uint64 // hash of the id of the member event
}

// room is what match knows of a room's state: only what push rules and pokes need. It keeps
// copies of ids, since those of an event keep the whole event in memory
// ([events.RoomEvent.Text]). The goroutine that follows the room's partition owns it.
type room struct {
	id      events.RoomID
	seq     uint64 // in ROOMS, of the newest event that is included
	name    string
	alias   string
	avatar  string      // the URI (mxc) of its avatar, if that is kept
	version roomVersion // "" until m.room.create is known
	creator events.UserID
	// creators have unlimited power in rooms of version 12 or later; nil for older ones.
	creators map[events.UserID]bool
	levels   *pushrule.PowerLevels // nil while there are none
	set      stateIDs
	members  map[events.UserID]*member
	joined   int

	keepsAvatar bool // as Config.Avatars

	subscriptions subscriptions

	levelsOf func(id string) (int64, bool) // levelOf, made once

	audience audience
	heroes   *heroes // for names made of members; nil after members changed

	*recall
}

// recall is what match remembers of a room beside its state. It does not belong to the
// state at one time: an earlier state that is loaded to match an event again shares it.
type recall struct {
	timeline      timeline
	lastNotifying lastNotifying
	markers       map[events.UserID]*readMarker // of members who have read since the room was opened
}

func newRoom(id events.RoomID) *room {
	r := &room{id: copyOf(id), members: map[events.UserID]*member{}, recall: &recall{markers: map[events.UserID]*readMarker{}}}
	r.levelsOf = r.levelOf
	return r
}

// copyOf returns an id that shares no memory with another.
func copyOf[T ~string](id T) T { return T(strings.Clone(string(id))) }

// begin sets the sequence just before which the room's state was loaded: nothing else is
// remembered from before it.
func (r *room) begin(seq uint64) {
	r.seq, r.lastNotifying.since, r.timeline.from = seq-1, seq-1, seq
}

// stateIDs are hashes of the ids of the events that set what a room has once.
type stateIDs struct{ name, alias, avatar, levels uint64 }

// fold applies an event, if it is state.
func (r *room) fold(ev *events.RoomEvent) {
	switch {
	case !ev.IsState:
	case ev.Type == "m.room.member":
		r.foldMember(ev)
	case ev.StateKey != "":
	case ev.Type == "m.room.name":
		r.name, r.set.name = textOf(ev.Content, "name"), hashOf(ev.EventID)
	case ev.Type == "m.room.canonical_alias":
		r.alias, r.set.alias = textOf(ev.Content, "alias"), hashOf(ev.EventID)
	case ev.Type == "m.room.avatar" && r.keepsAvatar:
		r.avatar, r.set.avatar = avatarIn(ev.Content), hashOf(ev.EventID)
	case ev.Type == "m.room.power_levels":
		levels := pushrule.ParsePowerLevels(ev.Content)
		r.levels, r.set.levels = &levels, hashOf(ev.EventID)
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
		m = &member{id: copyOf(id)}
		r.members[m.id] = m
	}
	was := m.membership
	m.membership = textOf(ev.Content, "membership")
	m.displayName, m.event = textOf(ev.Content, "displayname"), hashOf(ev.EventID)
	r.heroes = nil
	if was == m.membership {
		return
	}
	if was == "join" {
		r.joined--
	}
	if m.membership == "join" {
		r.joined++
	}
	r.audience.memberChanged(id)
}

func (r *room) foldCreate(ev *events.RoomEvent) {
	r.creator = copyOf(ev.Sender)
	r.creators = nil
	r.version = versionOf(ev.Content)
	if !r.version.atLeast(12) { // since then the creators' power has no limit
		return
	}
	r.creators = map[events.UserID]bool{r.creator: true}
	for _, also := range gjson.GetBytes(ev.Content, "additional_creators").Array() {
		if also.Type == gjson.String {
			r.creators[events.UserID(also.Str)] = true
		}
	}
}

// noLevels are the levels of a room without m.room.power_levels.
var noLevels = pushrule.ParsePowerLevels(nil) //nolint:gochecknoglobals // it never changes

// rulesRoom returns what push rules need to know about the room when sender sends.
func (r *room) rulesRoom(sender events.UserID) pushrule.Room {
	facts := pushrule.Room{MemberCount: r.joined}
	facts.SenderLevel, facts.SenderIsCreator = r.levelOf(string(sender))
	if r.version != "" { // else what its levels are is not known
		facts.Levels, facts.LevelOf = r.levels, r.levelsOf
	}
	switch {
	case r.levels != nil:
		facts.NotificationLevels = r.levels.Notifications
	case facts.Levels == nil && r.version != "":
		facts.Levels = &noLevels
	}
	return facts
}

// levelOf returns a user's power level, or that it has no limit.
func (r *room) levelOf(id string) (level int64, unlimited bool) {
	switch {
	case r.levels != nil:
		level = r.levels.Of(id)
	case events.UserID(id) == r.creator:
		level = 100 // before there are power levels, the creator has 100 and all others 0
	}
	return level, r.creators[events.UserID(id)]
}

// displayName returns a member's display name, or "".
func (r *room) displayName(id events.UserID) string {
	if m := r.members[id]; m != nil {
		return m.displayName
	}
	return ""
}

// membership returns a user's membership in the room, or "".
func (r *room) membership(id events.UserID) string {
	if m := r.members[id]; m != nil {
		return m.membership
	}
	return ""
}

// textOf returns a string field of a JSON object, or "" if it is absent or not a string.
func textOf(object []byte, key string) string {
	if value := gjson.GetBytes(object, key); value.Type == gjson.String {
		return value.Str
	}
	return ""
}
