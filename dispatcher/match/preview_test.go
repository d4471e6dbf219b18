package match

import (
	"testing"

	"poked/events"
	"poked/events/partition"
	"poked/events/pushgateway"
)

// An invite from another server, and a knock, name the room and the sender from the stripped
// state that they bring, and a room of which nothing is known is not called empty.
func TestPreviewOfARoom(t *testing.T) {
	const inviter = `{"type":"m.room.member","state_key":"@olga:far","sender":"@olga:far","content":{"membership":"join","displayname":"Olga"}}`
	const name = `{"type":"m.room.name","state_key":"","sender":"@olga:far","content":{"name":"Far Room"}}`
	const alias = `{"type":"m.room.canonical_alias","state_key":"","sender":"@olga:far","content":{"alias":"#far:far"}}`
	known := []*events.RoomEvent{memberEvent("@olga:far", "join", "Known Olga"), stateEvent("m.room.name", "", `{"name":"Known"}`)}
	for name, row := range map[string]struct {
		membership, unsigned string
		state                []*events.RoomEvent
		room, sender         string
	}{
		"name and inviter":         {"invite", `{"invite_room_state":[` + name + "," + inviter + `]}`, nil, "Far Room", "Olga"},
		"alias":                    {"invite", `{"invite_room_state":[` + alias + `]}`, nil, "#far:far", ""},
		"a name made of members":   {"invite", `{"invite_room_state":[` + inviter + `]}`, nil, "Olga", "Olga"},
		"knock":                    {"knock", `{"knock_room_state":[` + name + "," + inviter + `]}`, nil, "Far Room", "Olga"},
		"the state of the other":   {"knock", `{"invite_room_state":[` + name + `]}`, nil, "", ""},
		"none":                     {"invite", `{}`, nil, "", ""},
		"empty":                    {"invite", `{"invite_room_state":[]}`, nil, "", ""},
		"no array":                 {"invite", `{"invite_room_state":{"type":"m.room.name"}}`, nil, "", ""},
		"odd elements":             {"invite", `{"invite_room_state":[7,null,{"type":7},{"type":"m.room.name","state_key":"","content":7},` + name + `]}`, nil, "Far Room", ""},
		"without state_key":        {"invite", `{"invite_room_state":[{"type":"m.room.name","content":{"name":"X"}}]}`, nil, "", ""},
		"bad text":                 {"invite", `{"invite_room_state":[{"type":"m.room.name","state_key":"","content":{"name":"\ud800"}}]}`, nil, "", ""},
		"newer than what is known": {"invite", `{"invite_room_state":[` + name + "," + inviter + `]}`, known, "Far Room", "Olga"},
		"what is known":            {"invite", `{}`, known, "Known", "Known Olga"},
		"no preview of a leave":    {"leave", `{"invite_room_state":[` + name + `]}`, known, "Known", "Known Olga"},
	} {
		t.Run(name, func(t *testing.T) {
			ev, err := events.ParseRoomEvent([]byte(`{"event_id":"$i","room_id":"!r:x","type":"m.room.member","sender":"@olga:far","state_key":"@me:x",` +
				`"content":{"membership":"` + row.membership + `"},"unsigned":` + row.unsigned + `}`))
			if err != nil {
				t.Fatal(err)
			}
			r := folded(row.state...)
			r.fold(&ev)
			rec := &recorder{}
			d := rec.draft(partition.Message{Seq: 1}, &ev, r, "")
			got := bodyOf(&d)
			if got.RoomName != row.room || got.SenderDisplayName != row.sender {
				t.Errorf("the room is called %q and the sender %q, want %q and %q", got.RoomName, got.SenderDisplayName, row.room, row.sender)
			}
			if r.name != "" && row.state == nil || r.displayName("@olga:far") == "Olga" {
				t.Error("the preview became state of the room")
			}
		})
	}
}

// bodyOf returns the poke that @me:x gets.
func bodyOf(d *draft) pushgateway.Notification {
	body := d.body
	if !d.named {
		body.RoomName = d.room.titleFor("@me:x")
	}
	return body
}
