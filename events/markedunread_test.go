package events

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestParseMarks(t *testing.T) {
	for _, tc := range []struct {
		name, raw string
		want      []Mark
		flaw      string // "" if it is right
	}{
		{"set", `{"type":"m.marked_unread","room_id":"!r","content":{"@a:x":{"unread":true}}}`, []Mark{{"@a:x", true}}, ""},
		{"taken back", `{"type":"m.marked_unread","room_id":"!r","content":{"@a:x":{"unread":false}}}`, []Mark{{"@a:x", false}}, ""},
		{"no boolean", `{"type":"m.marked_unread","room_id":"!r","content":{"@a:x":{"unread":"true"}}}`, []Mark{{"@a:x", false}}, ""},
		{"deleted", `{"type":"m.marked_unread","room_id":"!r","content":{"@a:x":{}}}`, []Mark{{"@a:x", false}}, ""},
		{"two", `{"type":"m.marked_unread","room_id":"!r","content":{"@b:x":{"unread":true},"@a:x":{}}}`, []Mark{{"@a:x", false}, {"@b:x", true}}, ""},
		{"a receipt", `{"type":"m.receipt","room_id":"!r","content":{"$e":{"m.read":{"@a:x":{}}}}}`, nil, "type"},
		{"the name of the proposal", `{"type":"com.famedly.marked_unread","room_id":"!r","content":{"@a:x":{"unread":true}}}`, nil, "type"},
		{"no room", `{"type":"m.marked_unread","content":{"@a:x":{"unread":true}}}`, nil, "room_id"},
		{"nobody", `{"type":"m.marked_unread","room_id":"!r","content":{}}`, nil, "user"},
		{"a user without an id", `{"type":"m.marked_unread","room_id":"!r","content":{"":{"unread":true}}}`, nil, "user"},
		{"the content itself", `{"type":"m.marked_unread","room_id":"!r","content":{"unread":true}}`, nil, "user"},
		{"not JSON", `{`, nil, "JSON"},
		{"a list", `[]`, nil, "object"},
		{"too long", `{"type":"m.marked_unread","room_id":"!r","content":{"@a:x":{"x":"` + strings.Repeat("x", MaxEventBytes) + `"}}}`, nil, "limit"},
	} {
		room, got, err := ParseMarks([]byte(tc.raw))
		if tc.flaw != "" {
			if !errors.Is(err, ErrBadEvent) || !strings.Contains(err.Error(), tc.flaw) || room != "" || got != nil {
				t.Errorf("%s: %q %v, %v", tc.name, room, got, err)
			}
			continue
		}
		if err != nil || room != "!r" || !slices.Equal(got, tc.want) || !IsMarks([]byte(tc.raw)) {
			t.Errorf("%s: %q %v, %v", tc.name, room, got, err)
		}
	}
	const right = `{"type":"m.marked_unread","room_id":"!r","content":{"@a:x":{"unread":true}}}`
	if _, got, err := ParsePublishedMarks(ReceiptSubject("!r"), []byte(right)); err != nil || len(got) != 1 {
		t.Errorf("on its subject: %v, %v", got, err)
	}
	if _, got, err := ParsePublishedMarks(ReceiptSubject("!other"), []byte(right)); !errors.Is(err, ErrBadEvent) || got != nil {
		t.Errorf("on the subject of another room: %v, %v", got, err)
	}
}

func TestMarkedRoundTrip(t *testing.T) {
	for _, want := range []Marked{{"@a:x", "!r", true, 7}, {"@a:x", "!r", false, 1 << 48}} {
		if m, err := ParseLog(want.AppendJSON(nil)); err != nil || m.Kind != LogMarked || m.Marked != want {
			t.Errorf("%+v became %+v, %v", want, m, err)
		}
	}
	for _, bad := range []string{`{"kind":"marked"}`, `{"kind":"marked","user_id":"@a:x","room_id":"!r"}`, `{"kind":"marked","user_id":"@a:x","by":1}`, `{"kind":"marked","user_id":7,"room_id":"!r","by":1}`} {
		if m, err := ParseLog([]byte(bad)); !errors.Is(err, ErrBadNotification) {
			t.Errorf("%s: %+v, %v", bad, m, err)
		}
	}
}

func TestInboxKeepsTheMark(t *testing.T) {
	want := InboxRoom{Applied: 9, Incarnation: 1, Marked: 8, MarkedBy: 1<<48 + 6}
	got, err := ParseInboxRoom(want.AppendJSON(nil))
	if err != nil || !reflect.DeepEqual(got, want) || !json.Valid(want.AppendJSON(nil)) {
		t.Errorf("%s became %+v, %v", want.AppendJSON(nil), got, err)
	}
	if _, err := ParseInboxRoom([]byte(`{"applied":1,"incarnation":0,"marked":7,"entries":[]}`)); !errors.Is(err, ErrBadInbox) {
		t.Errorf("a mark that is no list: %v", err)
	}
	for after, marked := range map[uint64]uint64{7: 0, 8: 8} {
		r := want
		if r.cut(after); r.Marked != marked || (r.MarkedBy == 0) != (marked == 0) {
			t.Errorf("cut after %d: %+v", after, r)
		}
	}
}

// Only who reads the room itself, and later, takes a mark back.
func TestReadTakesMarkBack(t *testing.T) {
	for read, want := range map[Read]bool{
		{Whole: true, By: 6}: true, {By: 6}: true, {Thread: "$t", By: 6}: false, {Whole: true, By: 5}: false, {Whole: true, By: 4}: false, {Whole: true}: false,
	} {
		if got := read.TakesBack(5); got != want {
			t.Errorf("%+v takes back: %t", read, got)
		}
	}
}
