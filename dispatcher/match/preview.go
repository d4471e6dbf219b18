package match

import (
	"cmp"

	"github.com/tidwall/gjson"

	"poked/events"
	"poked/events/pushgateway"
)

// previewOf returns the room as the event of an invite or a knock itself describes it, or
// nil if it does not: "unsigned.invite_room_state" and "unsigned.knock_room_state" hold
// stripped state (Matrix specification, "Stripped state"). Of a room on another server
// nothing else is known. It is the word of that server, so it serves this event's pokes
// alone and never becomes the room's state.
func (r *room) previewOf(ev *events.RoomEvent) *room {
	if !ev.IsState || ev.Type != "m.room.member" {
		return nil
	}
	key := "invite_room_state"
	switch textOf(ev.Content, "membership") {
	case "invite":
	case "knock":
		key = "knock_room_state"
	default:
		return nil
	}
	stripped := gjson.GetBytes(ev.Unsigned, key)
	if !stripped.IsArray() || events.CheckJSON([]byte(stripped.Raw)) != nil {
		return nil
	}
	p := newRoom(ev.RoomID)
	p.keepsAvatar = r.keepsAvatar
	stripped.ForEach(func(_, value gjson.Result) bool {
		state := events.RoomEvent{
			Type: value.Get("type").Str, IsState: true, StateKey: value.Get("state_key").Str,
			Sender: events.UserID(value.Get("sender").Str), Content: []byte(value.Get("content").Raw),
		}
		if value.Get("content").IsObject() && value.Get("state_key").Type == gjson.String {
			p.fold(&state)
		}
		return true
	})
	return p
}

// describe fills in what a room of which a preview is known is called, and who sent the
// event. The preview is newer than what was known before the invite.
func (r *room) describe(n *pushgateway.Notification) {
	n.SenderDisplayName = cmp.Or(r.displayName(events.UserID(n.Sender)), n.SenderDisplayName)
	n.RoomAlias = cmp.Or(r.alias, n.RoomAlias)
	n.RoomName = cmp.Or(r.title(), n.RoomName)
	if n.RoomName == "" && r.joined > 0 {
		n.RoomName = r.titleFor("")
	}
}
