package dispatcher

import (
	"cmp"
	"slices"
	"strconv"
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

	// Joined members who have a pusher, as of a generation of the directory and
	// a version of the members.
	targets           []*member
	targetsGeneration uint64
	targetsValid      bool
}

func newRoom(id events.RoomID) *room {
	return &room{id: id, members: map[events.UserID]*member{}}
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
	if was == m.membership {
		return
	}
	if was == "join" {
		r.joined--
	}
	if m.membership == "join" {
		r.joined++
	}
	r.targetsValid = false
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

// notified returns the members whom the directory knows a pusher of and who are
// joined, by user id, so that a repetition meets them in the same order.
func (r *room) notified(dir *directory) []*member {
	generation := dir.generation.Load()
	if r.targetsValid && r.targetsGeneration == generation {
		return r.targets
	}
	all := dir.hasAny(r.targets[:0], r.members)
	r.targets = slices.DeleteFunc(all, func(m *member) bool { return m.membership != "join" })
	slices.SortFunc(r.targets, func(a, b *member) int { return cmp.Compare(a.id, b.id) })
	r.targetsGeneration, r.targetsValid = generation, true
	return r.targets
}

// displayName returns a member's own name, or "".
func (r *room) displayName(id events.UserID) string {
	if m := r.members[id]; m != nil {
		return m.displayName
	}
	return ""
}

// title returns the room's name if it has one of its own: m.room.name, else the
// canonical alias.
func (r *room) title() string { return cmp.Or(r.name, r.alias) }

// heroCount is how many people a name made of people names.
const heroCount = 5

// titleFor returns the name of a room that has none of its own, as one user
// sees it ("Calculating the display name for a room" in the client-server API):
// the other people in it, or those who left it. The heroes are the first five
// by user id.
func (r *room) titleFor(user events.UserID) string {
	if people := r.others(user, "join", "invite"); len(people) > 0 {
		return listPeople(people)
	}
	if people := r.others(user, "leave", "ban"); len(people) > 0 {
		return "Empty Room (was " + listPeople(people) + ")"
	}
	return "Empty Room"
}

func (r *room) others(user events.UserID, memberships ...string) []*member {
	var people []*member
	for id, m := range r.members {
		if id != user && slices.Contains(memberships, m.membership) {
			people = append(people, m)
		}
	}
	slices.SortFunc(people, func(a, b *member) int { return cmp.Compare(a.id, b.id) })
	return people
}

// listPeople joins names: "A", "A and B", "A, B, C, D, E and 3 others".
func listPeople(people []*member) string {
	var items []string
	for _, m := range people[:min(len(people), heroCount)] {
		items = append(items, cmp.Or(m.displayName, string(m.id)))
	}
	switch rest := len(people) - len(items); rest {
	case 0:
	case 1:
		items = append(items, "1 other")
	default:
		items = append(items, strconv.Itoa(rest)+" others")
	}
	last := len(items) - 1
	if last == 0 {
		return items[0]
	}
	return strings.Join(items[:last], ", ") + " and " + items[last]
}

// textOf returns a string member of a JSON object, or "" if it is absent or
// anything else.
func textOf(object []byte, key string) string {
	if value := gjson.GetBytes(object, key); value.Type == gjson.String {
		return value.Str
	}
	return ""
}
