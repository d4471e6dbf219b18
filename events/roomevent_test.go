package events_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"poked/events"
	"poked/events/eventstest"
)

func TestParseRoomEvent(t *testing.T) {
	for _, raw := range []string{
		eventstest.GoodEvent,
		" \t\r\n" + eventstest.GoodEvent + "\n",
		`{ "content" : {"body":"hi"} , "sender":"@a:x","type":"m.x","room_id":"!r","event_id":"$e","state_key":"" }`,
		`{"unsigned":{"content":{"body":"no"},"event_id":"$no"},"event_id":"$e","room_id":"!r","type":"m.x","sender":"@a:x","state_key":"","content":{"body":"hi"},"x":[{"content":{}}]}`,
		`{"event\u005fid":"\u0024e","room_id":"!r","type":"m.x","sender":"@a:x","state_key":"","content":{"body":"hi"}}`,
	} {
		ev, err := events.ParseRoomEvent([]byte(raw))
		if err != nil {
			t.Errorf("%s: %v", raw, err)
			continue
		}
		if ev.EventID != "$e" || ev.RoomID != "!r" || ev.Type != "m.x" || ev.Sender != "@a:x" || !ev.IsState || ev.StateKey != "" {
			t.Errorf("%s reads as %+v", raw, ev)
		}
		if string(ev.Content) != `{"body":"hi"}` {
			t.Errorf("%s: content is %s", raw, ev.Content)
		}
		if string(ev.Raw) != raw {
			t.Errorf("the event was changed: %s", ev.Raw)
		}
	}
}

func TestParseRoomEventRefusals(t *testing.T) {
	const canary = "CANARY"
	long := strings.Repeat("x", events.MaxIDBytes) + canary
	event := func(change string) string { return strings.Replace(eventstest.GoodEvent, `{"event_id"`, change, 1) }
	for name, raw := range map[string]string{
		"empty":             "",
		"not JSON":          `{"content":"CANARY"`,
		"two documents":     eventstest.GoodEvent + eventstest.GoodEvent,
		"array":             `["CANARY"]`,
		"string":            `"CANARY"`,
		"no event_id":       event(`{"x"`),
		"event_id number":   event(`{"event_id":17,"x"`),
		"event_id empty":    event(`{"event_id":"","x"`),
		"room_id object":    event(`{"room_id":{"CANARY":1},"event_id"`),
		"sender null":       event(`{"sender":null,"event_id"`),
		"type too long":     event(`{"type":"` + long + `","event_id"`),
		"state_key number":  event(`{"state_key":1234567,"event_id"`),
		"state_key long":    event(`{"state_key":"` + long + `","event_id"`),
		"content string":    event(`{"content":"CANARY","event_id"`),
		"content array":     event(`{"content":["CANARY"],"event_id"`),
		"no content":        `{"event_id":"$e","room_id":"!r","type":"m.x","sender":"@a:x"}`,
		"too large":         event(`{"pad":"` + strings.Repeat("CANARY", events.MaxEventBytes/6) + `","event_id"`),
		"control character": "{\"event_id\":\"\x01CANARY\"}",
	} {
		_, err := events.ParseRoomEvent([]byte(raw))
		if !errors.Is(err, events.ErrBadEvent) {
			t.Errorf("%s: error is %v, want ErrBadEvent", name, err)
			continue
		}
		if strings.Contains(err.Error(), canary) || strings.Contains(err.Error(), "1234567") {
			t.Errorf("%s: the error repeats the input: %v", name, err)
		}
	}
}

func TestRoomEventSubject(t *testing.T) {
	room := events.Token("!r")
	for _, tc := range []struct {
		ev   events.RoomEvent
		want string
	}{
		{events.RoomEvent{RoomID: "!r", Type: "m.x"}, "room." + room + ".event"},
		{events.RoomEvent{RoomID: "!r", Type: "m.x", IsState: true}, "room." + room + ".state." + events.Token("m.x") + "._"},
		{events.RoomEvent{RoomID: "!r", Type: "m.x", IsState: true, StateKey: "@a:x"}, "room." + room + ".state." + events.Token("m.x") + "." + events.Token("@a:x")},
	} {
		if got := tc.ev.Subject(); got != tc.want {
			t.Errorf("subject is %s, want %s", got, tc.want)
		}
		stored := strings.Replace(tc.want, "room.", "rooms.7.", 1) // in ROOMS
		for subject, want := range map[string]bool{
			tc.want: true, stored: true, tc.want + ".x": false, stored + "x": false, "x" + tc.want: false, "rooms.7." + tc.want: false,
			"room." + room: false, "room." + room + ".state": false, "room." + room + ".receipt": false, "": false,
			strings.Replace(stored, room, events.Token("!q"), 1): false, strings.Replace(stored, room, "!r", 1): false,
		} {
			if tc.ev.IsOn(subject) != want {
				t.Errorf("%+v is on %s: %v", tc.ev, subject, !want)
			}
		}
	}
}

// Match parses each event, and a homeserver in Go as well.
func TestEventIsParsedIntoOneString(t *testing.T) {
	raw, subject := []byte(eventstest.GoodEvent), "rooms.7."+events.Token("!r")+".state."+events.Token("m.x")+"._"
	allocs := testing.AllocsPerRun(100, func() {
		ev, err := events.ParseMarked(subject, raw, false)
		if err != nil || ev.Text() != eventstest.GoodEvent {
			t.Errorf("parsed as %+v, error %v", ev, err)
		}
	})
	if allocs > 1 {
		t.Errorf("%v allocations to parse an event, want one", allocs)
	}
}

func FuzzParseRoomEvent(f *testing.F) {
	f.Add([]byte(eventstest.GoodEvent))
	f.Add([]byte(" " + eventstest.GoodEvent))
	f.Add([]byte(`{"content":{`))
	f.Add([]byte(`{"content":{},"content":[]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		ev, err := events.ParseRoomEvent(raw)
		if err != nil {
			if !errors.Is(err, events.ErrBadEvent) {
				t.Errorf("error is %v", err)
			}
			return
		}
		if !bytes.Contains(raw, ev.Content) || !json.Valid(ev.Content) || ev.Content[0] != '{' {
			t.Errorf("content %q is not an object of the event", ev.Content)
		}
		if strings.ContainsAny(ev.Subject(), " *>\r\n") {
			t.Errorf("subject %q cannot be published to", ev.Subject())
		}
	})
}
