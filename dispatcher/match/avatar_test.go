package match

import (
	"strings"
	"testing"

	"poked/events"
	"poked/events/partition"
)

// Only an mxc URI of a bounded size is kept as a room's avatar, and only if avatars are kept.
func TestRoomKeepsOnlyAnAvatarThatIsOne(t *testing.T) {
	longest := "mxc://x/" + strings.Repeat("m", maxAvatarBytes-len("mxc://x/"))
	for content, want := range map[string]string{
		`{"url":"mxc://example.org/aB-_1"}`:       "mxc://example.org/aB-_1",
		`{"url":"mxc://[::1]:8448/m","info":{}}`:  "mxc://[::1]:8448/m",
		`{"url":"` + longest + `"}`:               longest,
		`{"url":"` + longest + `m"}`:              "",
		`{"url":"https://example.org/x.png"}`:     "",
		`{"url":"http://mxc://example.org/x"}`:    "",
		`{"url":"MXC://example.org/x"}`:           "",
		`{"url":"mxc://example.org"}`:             "",
		`{"url":"mxc://example.org/"}`:            "",
		`{"url":"mxc:///x"}`:                      "",
		`{"url":"mxc://example.org/x/y"}`:         "",
		`{"url":"mxc://example.org/a b"}`:         "",
		`{"url":"mxc://example.org/a\u0000"}`:     "",
		`{"url":"mxc://example.org/ä"}`:           "",
		`{"url":7}`:                               "",
		`{"url":null}`:                            "",
		`{"url":""}`:                              "",
		`{}`:                                      "",
		`{"thumbnail_url":"mxc://example.org/x"}`: "",
	} {
		r := newRoom("!r:x")
		r.keepsAvatar = true
		r.fold(stateEvent("m.room.avatar", "", `{"url":"mxc://old/x"}`))
		r.fold(stateEvent("m.room.avatar", "other", `{"url":"mxc://other/x"}`))
		r.fold(stateEvent("m.room.avatar", "", content))
		if r.avatar != want {
			t.Errorf("of %s the room has %q, want %q", content, r.avatar, want)
		}
		if off := folded(stateEvent("m.room.avatar", "", content)); off.avatar != "" || off.set.avatar != 0 {
			t.Errorf("a room that keeps none has %q", off.avatar)
		}
	}
}

// An invite to a room of which nothing else is known has the avatar of its preview, which is kept no longer than
// that.
func TestInviteHasTheAvatarOfItsPreview(t *testing.T) {
	for kept, want := range map[bool]string{true: "mxc://far/x", false: ""} {
		ev, err := events.ParseRoomEvent([]byte(`{"event_id":"$i","room_id":"!r:x","type":"m.room.member","sender":"@olga:far","state_key":"@me:x","content":{"membership":"invite"},
			"unsigned":{"invite_room_state":[{"type":"m.room.avatar","state_key":"","sender":"@olga:far","content":{"url":"mxc://far/x"}}]}}`))
		if err != nil {
			t.Fatal(err)
		}
		r := newRoom("!r:x")
		r.keepsAvatar = kept
		rec := &recorder{}
		rec.draft(partition.Message{Seq: 1}, &ev, r, "")
		if rec.chunk.RoomAvatar != want || r.avatar != "" {
			t.Errorf("kept %t: the invite has %q, the room %q", kept, rec.chunk.RoomAvatar, r.avatar)
		}
	}
}
