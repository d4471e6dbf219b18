package match

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"
	"weak"

	"poked/events"
)

// stateEvent makes a state event sent by @admin:x.
func stateEvent(kind, key, content string) *events.RoomEvent {
	return &events.RoomEvent{Type: kind, StateKey: key, IsState: true, Sender: "@admin:x", Content: []byte(content)}
}

// memberEvent makes a membership; an empty name is left out.
func memberEvent(user, membership, name string) *events.RoomEvent {
	content := map[string]string{"membership": membership}
	if name != "" {
		content["displayname"] = name
	}
	raw, _ := json.Marshal(content) // strings only
	return stateEvent("m.room.member", user, string(raw))
}

func folded(all ...*events.RoomEvent) *room {
	r := newRoom("!r:x")
	for _, ev := range all {
		r.fold(ev)
	}
	return r
}

func TestFoldCountsJoinedMembers(t *testing.T) {
	r := newRoom("!r:x")
	for i, step := range []struct {
		user, membership string
		joined           int
	}{
		{"@a:x", "join", 1},
		{"@a:x", "join", 1}, // a new display name
		{"@b:x", "invite", 1},
		{"@b:x", "join", 2},
		{"@c:x", "knock", 2},
		{"@c:x", "ban", 2},
		{"@b:x", "leave", 1},
		{"@b:x", "leave", 1},
		{"@b:x", "join", 2},
		{"@a:x", "ban", 1},
		{"@a:x", "nonsense", 1},
		{"", "join", 1}, // no user id
		{"@b:x", "leave", 0},
	} {
		r.fold(memberEvent(step.user, step.membership, ""))
		if r.joined != step.joined || r.rulesRoom("@a:x").MemberCount != step.joined {
			t.Errorf("step %d, %s %s: %d joined, want %d", i, step.user, step.membership, r.joined, step.joined)
		}
	}
}

func TestFoldNames(t *testing.T) {
	r := folded(memberEvent("@a:x", "join", "Ann"))
	if r.displayName("@a:x") != "Ann" || r.displayName("@nobody:x") != "" {
		t.Errorf("display names are %q and %q", r.displayName("@a:x"), r.displayName("@nobody:x"))
	}
	for _, step := range []struct {
		kind, key, content, title string
	}{
		{"m.room.canonical_alias", "", `{"alias":"#here:x"}`, "#here:x"},
		{"m.room.name", "", `{"name":"Here"}`, "Here"},
		{"m.room.name", "other", `{"name":"No"}`, "Here"},
		{"m.room.name", "", `{"name":7}`, "#here:x"},
		{"m.room.name", "", `{"name":"There"}`, "There"},
		{"m.room.name", "", `{"name":""}`, "#here:x"},
		{"m.room.canonical_alias", "", `{"alias":null}`, ""},
	} {
		r.fold(stateEvent(step.kind, step.key, step.content))
		if r.title() != step.title {
			t.Errorf("after %s %s the room is called %q, want %q", step.kind, step.content, r.title(), step.title)
		}
	}
}

func TestFoldPowerLevels(t *testing.T) {
	r := folded(stateEvent("m.room.create", "", `{"room_version":"11"}`))
	if got := r.rulesRoom("@admin:x").SenderLevel; got != 100 {
		t.Errorf("without power levels the creator has %d, want 100", got)
	}
	if got := r.rulesRoom("@a:x").SenderLevel; got != 0 {
		t.Errorf("without power levels others have %d, want 0", got)
	}
	r.fold(stateEvent("m.room.power_levels", "", `{"users":{"@a:x":60},"users_default":5,"notifications":{"room":25}}`))
	for user, want := range map[events.UserID]int64{"@a:x": 60, "@b:x": 5, "@admin:x": 5} {
		facts := r.rulesRoom(user)
		if facts.SenderLevel != want || facts.NotificationLevels["room"] != 25 {
			t.Errorf("%s has %d with %v, want %d", user, facts.SenderLevel, facts.NotificationLevels, want)
		}
	}
}

// What an invite takes is redacted in rooms before version 11; what a kick takes never is.
func TestRedactedPowerLevels(t *testing.T) {
	for version, invite := range map[string]int64{"10": 0, "11": 60} {
		r := folded(stateEvent("m.room.create", "", `{"room_version":"`+version+`"}`), stateEvent("m.room.power_levels", "", `{"invite":60,"kick":70}`))
		r.redact("m.room.power_levels", "")
		if got := r.rulesRoom("@a:x").Levels; got.Invite != invite || got.Kick != 70 {
			t.Errorf("version %s: %+v", version, got)
		}
	}
}

// Since room version 12 the creators' power has no limit.
func TestFoldCreators(t *testing.T) {
	for version, unlimited := range map[string]bool{
		`"1"`: false, `"11"`: false, `"12"`: true, `"13"`: true, `"org.example.new"`: true, `12`: false, `null`: false,
	} {
		content := fmt.Sprintf(`{"room_version":%s,"additional_creators":["@second:x",7]}`, version)
		r := folded(stateEvent("m.room.create", "", content), stateEvent("m.room.power_levels", "", `{}`))
		for user, creator := range map[events.UserID]bool{"@admin:x": unlimited, "@second:x": unlimited, "@a:x": false} {
			if got := r.rulesRoom(user).SenderIsCreator; got != creator {
				t.Errorf("version %s: %s is creator: %t, want %t", version, user, got, creator)
			}
		}
	}
}

// The rules and the examples of testdata/pokes/README.md.
func TestTitleFor(t *testing.T) {
	join := func(names ...string) []*events.RoomEvent {
		all := []*events.RoomEvent{memberEvent("@me:x", "join", "Me")}
		for i, name := range names {
			all = append(all, memberEvent(fmt.Sprintf("@%02d:x", i), "join", name))
		}
		return all
	}
	for _, tc := range []struct {
		want  string
		state []*events.RoomEvent
	}{
		{"A", join("A")},
		{"A and B", join("A", "B")},
		{"A, B and C", join("A", "B", "C")},
		{"A, B, C, D and E", join("A", "B", "C", "D", "E")},
		{"A, B, C, D, E and 1 other", join("A", "B", "C", "D", "E", "F")},
		{"A, B, C, D, E and 3 others", join("A", "B", "C", "D", "E", "F", "G", "H")},
		{"A, @01:x and C", join("A", "", "C")},
		{"Same and Same", join("Same", "Same")},
		{"A and B", []*events.RoomEvent{memberEvent("@a:x", "invite", "A"), memberEvent("@b:x", "join", "B"), memberEvent("@c:x", "leave", "C"), memberEvent("@d:x", "knock", "D")}},
		{"B and A", []*events.RoomEvent{memberEvent("@Z:x", "join", "B"), memberEvent("@a:x", "join", "A")}}, // by the bytes of ids
		{"Empty Room (was A and B)", []*events.RoomEvent{memberEvent("@a:x", "leave", "A"), memberEvent("@b:x", "ban", "B")}},
		{"Empty Room", []*events.RoomEvent{memberEvent("@me:x", "join", "Me")}},
		{"", []*events.RoomEvent{memberEvent("@k:x", "knock", "K")}}, // nothing is known of it
		{"", []*events.RoomEvent{memberEvent("@me:x", "invite", "Me")}},
	} {
		if got := folded(tc.state...).titleFor("@me:x"); got != tc.want {
			t.Errorf("the room is called %q, want %q", got, tc.want)
		}
	}
}

// Most rooms are direct chats without a name: that of the other member is theirs as it is.
func TestTitleOfDirectChatAllocatesNothing(t *testing.T) {
	r := folded(memberEvent("@a:x", "join", "Alice"), memberEvent("@b:x", "join", ""))
	title := r.titleFor("@b:x")
	if n := testing.AllocsPerRun(100, func() { title = r.titleFor("@b:x") }); n > 0 || title != "Alice" {
		t.Errorf("%v allocations for the title %q", n, title)
	}
}

// An event has up to 256 KiB, and what a room keeps of it a few bytes: the rest must not stay in
// memory for as long as the room does (G7).
func TestG7RoomKeepsNoWholeEvents(t *testing.T) {
	r := newRoom("!other:x")
	for name, use := range map[string]func(ev *events.RoomEvent){
		"room":   func(ev *events.RoomEvent) { r = newRoom(ev.RoomID) },
		"member": func(ev *events.RoomEvent) { r.fold(ev) },
		"create": func(ev *events.RoomEvent) { ev.Type = "m.room.create"; r.foldCreate(ev) },
		"thread": func(ev *events.RoomEvent) {
			r.timeline.add(ev.EventID, 7, time.Unix(0, 0), place{root: events.EventID(ev.StateKey)})
		},
		"read": func(ev *events.RoomEvent) {
			r.markerOf(ev.Sender).set(events.Read{UpTo: 7, Thread: events.EventID(ev.StateKey)})
		},
		"subscribed": func(ev *events.RoomEvent) {
			r.subscribe(events.ThreadSubscription{Thread: ev.EventID, UserID: ev.Sender, Subscribed: true})
		},
	} {
		r = newRoom("!other:x")
		whole := textUsed(t, use)
		runtime.GC()
		if whole.Value() != nil {
			t.Errorf("%s: the room keeps the whole event", name)
		}
		runtime.KeepAlive(r)
	}
}

// textUsed parses an event, uses it and forgets it.
//
//go:noinline
func textUsed(t *testing.T, use func(*events.RoomEvent)) weak.Pointer[byte] {
	t.Helper()
	ev, err := events.ParseRoomEvent([]byte(`{"event_id":"$e","room_id":"!r:x","type":"m.room.member","sender":"@a:x","state_key":"@b:x",` +
		`"content":{"membership":"join","displayname":"B"},"x":"` + strings.Repeat("x", 1000) + `"}`))
	if err != nil {
		t.Fatal(err)
	}
	use(&ev)
	return weak.Make(unsafe.StringData(ev.Text()))
}
