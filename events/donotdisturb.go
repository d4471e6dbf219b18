package events

import "slices"

// EveryRoom is what stands for every room in a [DoNotDisturb].
const EveryRoom RoomID = "*"

// DoNotDisturbTypes are the names of the account data m.do_not_disturb (MSC4359), the unstable
// one last.
func DoNotDisturbTypes() []string { return []string{"m.do_not_disturb", "dm.filament.do_not_disturb"} }

// DoNotDisturb is where a user wants to hear nothing for now (MSC4359). What happens there is
// unread as always.
type DoNotDisturb struct {
	// Rooms are the rooms, sorted; [EveryRoom] is all of them.
	Rooms []RoomID `json:"rooms"`
	// Highlights reports that the user wants to hear of highlights all the same.
	Highlights bool `json:"highlights,omitempty"`
}

// Covers reports whether the user wants to hear nothing of a notification in a room.
func (d *DoNotDisturb) Covers(room RoomID, highlight bool) bool {
	if d == nil || highlight && d.Highlights {
		return false
	}
	_, found := slices.BinarySearch(d.Rooms, room)
	return found || slices.Contains(d.Rooms, EveryRoom)
}
