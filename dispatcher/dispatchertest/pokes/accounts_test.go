package pokes_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"poked/events"
	"poked/events/eventstest"
	"poked/events/owner"
	"poked/events/roomstore"
)

// told returns what pokes tell at a key of the notification object, by pushkey and in order: "-" if a
// poke has nothing there.
func told(pokes []eventstest.Poke, key string) map[string]string {
	all := map[string][]string{}
	for _, p := range pokes {
		value := gjson.GetBytes(p.Body, "notification."+strings.ReplaceAll(key, ".", `\.`))
		text := "-"
		if value.Exists() {
			text = value.Str
		}
		all[p.Pushkey] = append(all[p.Pushkey], text)
	}
	joined := map[string]string{}
	for pushkey, texts := range all {
		joined[pushkey] = strings.Join(texts, " ")
	}
	return joined
}

// wantTold compares what pokes tell.
func wantTold(t *testing.T, when string, got, want map[string]string) {
	t.Helper()
	if maps.Equal(got, want) {
		return
	}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if got[key] != want[key] {
			t.Errorf("%s: %.20s was told %q, want %q", when, key, got[key], want[key])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s: told %d pushers, want %d", when, len(got), len(want))
	}
}

// dataWith is the data of a pusher with more members.
func dataWith(members string) []byte {
	return fmt.Appendf(nil, `{"url":"http://gw.test/_matrix/push/v1/notify",%s}`, members)
}

// A pusher that asks for it is told whose poke it is, with each event, each badge and each test push, at once
// and after a failure; one that does not ask is told what it was told before.
func TestUserIDIsInEachPokeOfAPusherThatAsks(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.SpanHours()
		h.WithVAPID()
		const ask = `"poked.user_id":true`
		browser, ids, silent := h.Gateway.Browser("gw.test", map[string]any{"poked.user_id": true}),
			h.Gateway.Browser("gw.test", map[string]any{"poked.user_id": true, "format": "event_id_only"}), h.Gateway.Browser("gw.test", nil)
		pushers := []events.Pusher{
			{Pushkey: "asks", Data: dataWith(ask)}, {Pushkey: "as well", Data: dataWith(ask)}, {Pushkey: "own", Data: dataWith(`"x":1,` + ask)},
			{Pushkey: "ids", Data: dataWith(`"format":"event_id_only",` + ask)}, browser, ids,
			{Pushkey: "usual"}, {Pushkey: "no", Data: dataWith(`"poked.user_id":false`)}, {Pushkey: "odd", Data: dataWith(`"poked.user_id":"@eve:x"`)},
			{Pushkey: "own usual", Data: dataWith(`"x":2`)}, silent,
		}
		h.RegisterAll("@bob:x", pushers...)
		h.RegisterAll("@carol:x", events.Pusher{Pushkey: "carol", Data: dataWith(ask)})
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x", "@carol:x")
		check := func(when string, times int) {
			t.Helper()
			pokes := h.Arrived(times * (len(pushers) + 1))
			want := map[string]string{"carol": strings.TrimSpace(strings.Repeat("@carol:x ", times))}
			for i, p := range pushers {
				tells := "-"
				if i < 6 {
					tells = "@bob:x"
				}
				want[p.Pushkey] = strings.TrimSpace(strings.Repeat(tells+" ", times))
			}
			wantTold(t, when, told(pokes, "poked.user_id"), want)
		}
		h.Say("!r", "@alice:x", 0, 1)
		check("event", 1)
		h.Receipt("!r", "@bob:x", "m.read", "$r-0", "")
		h.Receipt("!r", "@carol:x", "m.read", "$r-0", "")
		check("badge", 2)
		h.GatewayDown()
		h.Say("!r", "@alice:x", 1, 1)
		<-time.After(5 * time.Second)
		h.Kill()
		h.GatewayUp()
		h.Start()
		check("after a failure", 3)
		h.CaughtUp()
		before := len(h.Gateway.Pokes())
		result, err := owner.NewClient(h.Conn).TestPusher(t.Context(), events.TestPush{UserID: "@bob:x", Pusher: events.NewPusherID("@bob:x", "app", "asks"), EventID: "$test"})
		if err != nil || result.Status != events.TestOK {
			t.Fatal(result, err)
		}
		wantTold(t, "test push", told(h.Gateway.Pokes()[before:], "poked.user_id"), map[string]string{"asks": "@bob:x"})
	})
}

// A poke that is shortened to its ids keeps the id of its user.
func TestUserIDStaysInAShortenedPoke(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Config.PayloadLimit = []string{"http://gw.test=1024"}
		h.RegisterAll("@bob:x", events.Pusher{Pushkey: "bob", Data: dataWith(`"poked.user_id":true`)})
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		h.content("$odd", "m.room.message", map[string]any{"msgtype": "m.text", "x": strings.Repeat("x", 9000)})
		n := notificationOf(t, h.Arrived(1)[0])
		if n["poked.user_id"] != "@bob:x" || n["event_id"] != "$odd" || n["content"] != nil {
			t.Errorf("poked with %v", n)
		}
	})
}

const anAvatar = "mxc://example.org/avatar"

// avatar sets the avatar of the room !r.
func (h *harness) avatar(id, url string) {
	h.T.Helper()
	h.Publish(fmt.Sprintf(`{"event_id":%q,"room_id":"!r","type":"m.room.avatar","sender":"@alice:x","state_key":"","content":{"url":%q}}`, id, url))
}

// says publishes a message and returns what its poke and those that come with it tell of the room's avatar.
func (h *harness) says(n, pushers int) map[string]string {
	h.T.Helper()
	before := len(h.Gateway.Pokes())
	h.Say("!r", "@alice:x", n, 1)
	return told(h.Arrived(before + pushers)[before:], "poked.room_avatar")
}

// With --room-avatars a pusher that asks is told the room's avatar with each event, at once, after a restart and
// after a failure; not with a badge, nor where only ids are sent, and only an avatar that is one.
func TestRoomAvatarIsInEachEventOfAPusherThatAsks(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.SpanHours()
		h.WithVAPID()
		h.Config.RoomAvatars = true
		const ask = `"poked.room_avatar":true`
		browser, ids, silent := h.Gateway.Browser("gw.test", map[string]any{"poked.room_avatar": true}),
			h.Gateway.Browser("gw.test", map[string]any{"poked.room_avatar": true, "format": "event_id_only"}), h.Gateway.Browser("gw.test", nil)
		pushers := []events.Pusher{
			{Pushkey: "asks", Data: dataWith(ask)}, {Pushkey: "as well", Data: dataWith(ask)}, {Pushkey: "own", Data: dataWith(`"x":1,` + ask)}, browser,
			{Pushkey: "ids", Data: dataWith(`"format":"event_id_only",` + ask)}, ids,
			{Pushkey: "usual"}, {Pushkey: "no", Data: dataWith(`"poked.room_avatar":false`)}, {Pushkey: "odd", Data: dataWith(`"poked.room_avatar":"yes"`)},
			{Pushkey: "user", Data: dataWith(`"poked.user_id":true`)}, silent,
		}
		h.RegisterAll("@bob:x", pushers...)
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		next := 0
		check := func(when, avatar string) {
			t.Helper()
			want := map[string]string{}
			for i, p := range pushers {
				if want[p.Pushkey] = "-"; i < 4 {
					want[p.Pushkey] = avatar
				}
			}
			wantTold(t, when, h.says(next, len(pushers)), want)
			next++
		}
		check("none", "-")
		h.avatar("$a", anAvatar)
		check("one", anAvatar)
		h.avatar("$b", "https://example.org/avatar.png")
		check("no avatar", "-")
		h.avatar("$c", anAvatar+"2")
		check("another", anAvatar+"2")
		before := len(h.Gateway.Pokes())
		h.Receipt("!r", "@bob:x", "m.read", "$r-3", "")
		for pushkey, avatar := range told(h.Arrived(before + len(pushers))[before:], "poked.room_avatar") {
			if avatar != "-" {
				t.Errorf("with a badge %s was told %q", pushkey, avatar)
			}
		}
		h.Halt()
		h.Start()
		check("after a restart", anAvatar+"2")
		h.GatewayDown()
		before = len(h.Gateway.Pokes())
		h.Say("!r", "@alice:x", next, 1)
		<-time.After(5 * time.Second)
		h.Kill()
		h.avatar("$d", anAvatar+"3") // what was said before keeps the avatar of its time
		h.GatewayUp()
		h.Start()
		got := told(h.Arrived(before + len(pushers))[before:], "poked.room_avatar")
		if got["asks"] != anAvatar+"2" || got[browser.Pushkey] != anAvatar+"2" || got["ids"] != "-" || got["usual"] != "-" {
			t.Errorf("after a failure %v", got)
		}
		next++
		check("after a crash", anAvatar+"3")
	})
}

// What a redaction removes is in no later poke; the avatar that replaced a redacted one stays, and without power
// nobody redacts.
func TestRedactedRoomAvatarIsInNoLaterPoke(t *testing.T) {
	const soon = 5 * time.Second
	between := map[string]func(h *harness){
		"at once":       func(*harness) {},
		"soon":          func(*harness) { <-time.After(soon) },
		"after restart": func(h *harness) { <-time.After(soon); h.Halt(); h.Start() },
		"after a crash": func(h *harness) { <-time.After(soon); h.Kill(); h.Start() },
		"after 72 h":    func(h *harness) { <-time.After(soon); h.Halt(); h.Server.Purge("ROOMS"); h.Start() },
		"out of memory": func(h *harness) {
			h.Room("!other", "@alice:x")
			<-time.After(soon)
		},
	}
	for name, row := range map[string]struct{ sender, target, want string }{
		"redacted":  {"@alice:x", "$a", "-"},
		"replaced":  {"@alice:x", "$old", anAvatar},
		"powerless": {"@eve:y", "$a", anAvatar},
	} {
		for when, then := range between {
			t.Run(name+" "+when, func(t *testing.T) {
				bubbleOf(t, 1, func(t *testing.T, h *harness) {
					h.Config.RoomAvatars, h.Config.OpenRooms = true, 1
					h.RegisterAll("@bob:x", events.Pusher{Pushkey: "bob", Data: dataWith(`"poked.room_avatar":true`)})
					h.Start()
					h.Room("!r", "@alice:x", "@bob:x", "@eve:y")
					h.avatar("$old", "mxc://example.org/old")
					h.avatar("$a", anAvatar)
					h.Publish(fmt.Sprintf(`{"event_id":"$x","room_id":"!r","type":"m.room.redaction","sender":%q,"content":{"redacts":%q}}`, row.sender, row.target))
					then(h)
					wantTold(t, when, h.says(0, 1), map[string]string{"bob": row.want})
				})
			})
		}
	}
}

// Without --room-avatars nobody is told an avatar, and no state is published in place of a redacted one. Once it is
// on, the avatar from before is known.
func TestRoomAvatarsAreOff(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.RegisterAll("@bob:x", events.Pusher{Pushkey: "bob", Data: dataWith(`"poked.room_avatar":true`)})
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		h.avatar("$a", anAvatar)
		wantTold(t, "off", h.says(0, 1), map[string]string{"bob": "-"})
		h.Halt()
		h.Config.RoomAvatars = true
		h.Start()
		wantTold(t, "on", h.says(1, 1), map[string]string{"bob": anAvatar})
		h.Halt()
		h.Config.RoomAvatars = false
		h.Start()
		wantTold(t, "off again", h.says(2, 1), map[string]string{"bob": "-"})
		h.Publish(`{"event_id":"$x","room_id":"!r","type":"m.room.redaction","sender":"@alice:x","content":{"redacts":"$a"}}`)
		h.says(3, 1)
		last, err := roomstore.New(h.Conn).LastState(t.Context(), "!r", "m.room.avatar", "")
		if err != nil || gjson.GetBytes(last.Data, "content.url").Str != anAvatar {
			t.Errorf("the state is %s, %v", last.Data, err)
		}
	})
}

// Of what does not fit the avatar is left out first: all of the text stays.
func TestRoomAvatarIsLeftOutFirst(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.WithVAPID()
		h.Config.RoomAvatars, h.Config.PayloadLimit = true, []string{"http://gw.test=4096"}
		h.RegisterAll("@bob:x", events.Pusher{Pushkey: "bob", Data: dataWith(`"poked.room_avatar":true`)}, h.Gateway.Browser("gw.test", map[string]any{"poked.room_avatar": true}))
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		h.avatar("$a", "mxc://example.org/"+strings.Repeat("a", 490))
		h.content("$short", "m.room.message", map[string]any{"msgtype": "m.text", "body": "x"})
		text := strings.Repeat("x", 1650)
		h.content("$long", "m.room.message", map[string]any{"msgtype": "m.text", "body": text, "formatted_body": text})
		for _, p := range h.Arrived(4) {
			n := notificationOf(t, p)
			content, _ := n["content"].(map[string]any)
			whole := content["body"] == "x" || content["body"] == text && content["formatted_body"] == text
			if _, has := n["poked.room_avatar"]; !whole || has != (p.EventID == "$short") || sizeOf(p) > 4096 || sizeOf(p) < 3500 && p.EventID == "$long" {
				t.Errorf("%s has %d bytes, its avatar: %t, all of its text: %t", p.EventID, sizeOf(p), has, whole)
			}
		}
	})
}
