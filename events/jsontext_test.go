package events_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"poked/events"
	"poked/events/eventstest"
)

func nested(levels int) string {
	return strings.Repeat(`[`, levels) + strings.Repeat(`]`, levels)
}

// badTexts returns valid JSON that parsers of push gateways refuse or change.
func badTexts() map[string]string {
	return map[string]string{
		"invalid UTF-8":        "\"\xff\"",
		"overlong UTF-8":       "\"\xc0\x80\"",
		"a surrogate in UTF-8": "\"\xed\xa0\x80\"",
		"first half":           `"\ud800"`,
		"halves turned round":  `"\udc00\ud800"`,
		"half before a letter": `"\ud800\u0041"`,
		"half at the end":      `"\ud83d\ude00\ud83d"`,
		"half after backslash": `"\\\ud800"`,
		"half in a key":        `{"\ud800":1}`,
		"capital half":         `"\uD800"`,
		"too deep":             nested(events.MaxJSONDepth + 1),
		"far too deep":         nested(100_000),
		"deep in objects":      strings.Repeat(`{"a":`, events.MaxJSONDepth+1) + `1` + strings.Repeat(`}`, events.MaxJSONDepth+1),
		"huge number":          `[1e400]`,
		"huge negative number": `-1E+400`,
		"huge integer":         `1` + strings.Repeat("0", 400),
	}
}

func goodTexts() map[string]string {
	return map[string]string{
		"plain":        `"plain"`,
		"emoji":        `"\ud83d\ude00 😀"`,
		"escapes":      `"\u00e9 \\ud800 \n \"x\\"`,
		"NUL":          `"\u0000"`,
		"deep":         nested(events.MaxJSONDepth),
		"wide":         `[` + strings.Repeat(`[],`, 1000) + `{}]`,
		"braces":       `"` + strings.Repeat(`[{`, 1000) + `"`,
		"numbers":      `[1e300,-0.5,1E-400,18446744073709551616,` + strings.Repeat("1", 200) + `]`,
		"number alone": `7`,
		"nothing":      `null`,
	}
}

func TestCheckJSON(t *testing.T) {
	for name, text := range badTexts() {
		if events.CheckJSON([]byte(text)) == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	for name, text := range goodTexts() {
		if err := events.CheckJSON([]byte(text)); err != nil {
			t.Errorf("%s: it %v", name, err)
		}
	}
}

// FuzzCheckJSON compares CheckJSON with encoding/json: a text that CheckJSON accepts
// can be decoded and encoded without replacement characters.
func FuzzCheckJSON(f *testing.F) {
	for _, texts := range []map[string]string{badTexts(), goodTexts()} {
		for _, text := range texts {
			f.Add([]byte(text))
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		err := events.CheckJSON(raw)
		if err != nil || !json.Valid(raw) {
			return
		}
		var value any
		if err := json.Unmarshal(raw, &value); err != nil {
			t.Fatalf("accepted, but cannot be decoded: %v", err)
		}
		again, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		replaced := strings.Count(string(again), "\ufffd") - strings.Count(string(raw), "\ufffd") - strings.Count(strings.ToLower(string(raw)), `\ufffd`)
		if !utf8.Valid(raw) || replaced > 0 {
			t.Errorf("%q is accepted and loses characters", raw)
		}
	})
}

// ParseRoomEvent refuses such JSON everywhere but in unsigned. A state event that
// contains it counts as empty.
func TestRoomEventThatCannotBePassedOn(t *testing.T) {
	for name, text := range badTexts() {
		for where, raw := range map[string]string{
			"content":   strings.Replace(eventstest.GoodEvent, `"hi"`, text, 1),
			"elsewhere": strings.Replace(eventstest.GoodEvent, `{"event_id"`, `{"redacts":`+text+`,"event_id"`, 1),
		} {
			ev, err := events.ParseRoomEvent([]byte(raw))
			if err == nil {
				t.Errorf("%s in %s is accepted", name, where)
			}
			empty, ok := ev.Emptied()
			if !ok || string(empty.Content) != "{}" || empty.Subject() != "room."+events.Token("!r")+".state."+events.Token("m.x")+"._" {
				t.Errorf("%s in %s counts as %+v, %t", name, where, empty, ok)
			}
		}
		raw := strings.Replace(eventstest.GoodEvent, `{"event_id"`, `{"unsigned":{"prev_content":`+text+`},"event_id"`, 1)
		if _, err := events.ParseRoomEvent([]byte(raw)); err != nil {
			t.Errorf("%s in unsigned: %v", name, err)
		}
	}
	for name, text := range goodTexts() {
		if name == "deep" { // content adds a level
			text = nested(events.MaxJSONDepth - 1)
		}
		if _, err := events.ParseRoomEvent([]byte(strings.Replace(eventstest.GoodEvent, `"hi"`, text, 1))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// If a field occurs twice or is not a string, it is unclear which state the event sets,
// and no state counts as empty.
func TestRoomEventOfUnclearState(t *testing.T) {
	event := func(change string) string { return strings.Replace(eventstest.GoodEvent, `{"event_id"`, change, 1) }
	for name, raw := range map[string]string{
		"two rooms":         event(`{"room_id":"!other","event_id"`),
		"two contents":      event(`{"content":{},"event_id"`),
		"two state keys":    event(`{"state_key":"x","event_id"`),
		"no state key":      strings.Replace(eventstest.GoodEvent, `"state_key":""`, `"state_key":7`, 1),
		"long state key":    strings.Replace(eventstest.GoodEvent, `"state_key":""`, `"state_key":"`+strings.Repeat("x", 256)+`"`, 1),
		"half a room":       strings.Replace(eventstest.GoodEvent, `"!r"`, `"!r\ud800"`, 1),
		"NUL in a room":     strings.Replace(eventstest.GoodEvent, `"!r"`, `"!r\u0000"`, 1),
		"no text in a room": strings.Replace(eventstest.GoodEvent, `"!r"`, "\"!r\xff\"", 1),
	} {
		ev, err := events.ParseRoomEvent([]byte(raw))
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
		if _, ok := ev.Emptied(); ok {
			t.Errorf("%s: counts as %+v", name, ev)
		}
	}
	few := strings.Replace(eventstest.GoodEvent, `"body":"hi"`, `"membership":"join","x":1,"membership":"leave"`, 1)
	many := strings.Replace(eventstest.GoodEvent, `"body":"hi"`, `"membership":"join","1":1,"2":2,"3":3,"4":4,"5":5,"6":6,"7":7,"8":8,"9":9,"membership":"leave"`, 1)
	for _, raw := range []string{few, many} {
		if _, err := events.ParseRoomEvent([]byte(raw)); err == nil {
			t.Errorf("accepted: %s", raw)
		}
	}
}
