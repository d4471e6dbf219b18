package reads_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"poked/events"
)

// What a redaction removes from the state of a room is in no later poke: not at once, not
// after a restart, and not after the room left memory. Only who may redact does so.
func TestRedactedState(t *testing.T) {
	const levels = `"type":"m.room.power_levels","sender":"@alice:x","state_key":"","content":{"users":{"@alice:x":100},"notifications":{"room":0}}`
	between := map[string]func(h *harness){
		"at once":       func(*harness) {},
		"after restart": func(h *harness) { h.Halt(); h.Start() },
		"after a crash": func(h *harness) { h.Kill(); h.Start() },
		"after 72 h":    func(h *harness) { h.Halt(); h.Server.Purge("ROOMS"); h.Start() },
		"out of memory": func(h *harness) {
			h.Room("!other", "@alice:x")
			<-time.After(soon)
		},
	}
	rows := map[string]struct {
		bad, sender string
		name, room  string // of the sender and the room afterwards
		highlight   bool
	}{
		"!member":  {`"type":"m.room.member","sender":"@eve:y","state_key":"@eve:y","content":{"membership":"join","displayname":"Nasty"}`, "@alice:x", "", "Room", false},
		"!name":    {`"type":"m.room.name","sender":"@eve:y","state_key":"","content":{"name":"Nasty"}`, "@alice:x", "eve", "alice and eve", false},
		"!alias":   {`"type":"m.room.canonical_alias","sender":"@eve:y","state_key":"","content":{"alias":"#nasty:y"}`, "@alice:x", "eve", "Room", false},
		"!levels":  {levels, "@alice:x", "eve", "Room", false},
		"!power":   {levels, "@eve:y", "eve", "Room", true},
		"!profile": {`"type":"m.room.member","sender":"@eve:y","state_key":"@eve:y","content":{"membership":"join","displayname":"Nasty"}`, "@eve:y", "", "Room", false},
	}
	for when, then := range between {
		t.Run(when, func(t *testing.T) {
			bubbleOf(t, 1, func(t *testing.T, h *harness) {
				if when == "out of memory" {
					h.Config.OpenRooms = 1
				}
				h.Register("@bob:x", "gw.test", "bob")
				h.Start()
				for room, row := range rows {
					h.Room(events.RoomID(room), "@alice:x", "@bob:x", "@eve:y")
					h.Publish(fmt.Sprintf(`{"event_id":"$bad%s","room_id":%q,%s}`, room, room, row.bad))
					h.Publish(fmt.Sprintf(`{"event_id":"$x%s","room_id":%q,"type":"m.room.redaction","sender":%q,"content":{"redacts":"$bad%s"}}`, room, room, row.sender, room))
				}
				<-time.After(soon)
				then(h)
				for room := range rows {
					h.Publish(fmt.Sprintf(`{"event_id":"$1%s","room_id":%q,"type":"m.room.message","sender":"@eve:y",
						"content":{"msgtype":"m.text","body":"x","m.mentions":{"room":true}}}`, room, room))
				}
				for _, p := range h.Arrived(len(rows)) {
					n := gjson.GetBytes(p.Body, "notification")
					row := rows[n.Get("room_id").Str]
					got := fmt.Sprintf("%q in %q, %q, highlight %t", n.Get("sender_display_name").Str, n.Get("room_name").Str, n.Get("room_alias").Str,
						n.Get("devices.0.tweaks.highlight").Bool())
					if want := fmt.Sprintf("%q in %q, \"\", highlight %t", row.name, row.room, row.highlight); got != want {
						t.Errorf("%s: poked with %s, want %s", n.Get("room_id"), got, want)
					}
				}
			})
		})
	}
}

// Newer state stays when the state that it replaced is redacted, and a redaction that comes
// before its state event redacts it.
func TestRedactedStateBesideNewerState(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Register("@bob:x", "gw.test", "bob")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		name := func(id, name string) {
			h.Publish(fmt.Sprintf(`{"event_id":%q,"room_id":"!r","type":"m.room.name","sender":"@alice:x","state_key":"","content":{"name":%q}}`, id, name))
		}
		redact := func(id, target string) {
			h.Publish(fmt.Sprintf(`{"event_id":%q,"room_id":"!r","type":"m.room.redaction","sender":"@alice:x","content":{"redacts":%q}}`, id, target))
		}
		called := func(id int, want string) {
			t.Helper()
			h.Say("!r", "@alice:x", id, 1)
			if got := gjson.GetBytes(h.Arrived(id + 1)[id].Body, "notification.room_name").Str; got != want {
				t.Errorf("poke %d names the room %q, want %q", id, got, want)
			}
		}
		name("$old", "Old")
		name("$new", "New")
		redact("$x", "$old")
		called(0, "New")
		redact("$y", "$later")
		name("$later", "Nasty")
		called(1, "alice")
		h.Halt()
		h.Start()
		called(2, "alice")
		name("$last", "Last")
		called(3, "Last")
	})
}
