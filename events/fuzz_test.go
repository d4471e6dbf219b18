package events

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"poked/testdata"
)

// addLines adds some lines of a recording to the seeds.
func addLines(f *testing.F, recording string, add func(line []byte)) {
	f.Helper()
	for i, line := range strings.Split(recording, "\n") {
		if i%20 == 0 && line != "" {
			add([]byte(line))
		}
	}
}

// Whatever is published on whatever subject of a room is parsed or is an error.
func FuzzPublishedEvent(f *testing.F) {
	addLines(f, testdata.Events(), func(line []byte) {
		ev, err := ParseRoomEvent(line)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(ev.Subject(), line)
		f.Add(strings.Replace(ev.Subject(), "room.", "rooms.7.", 1), line)
		f.Add("room.*.event", line)
	})
	f.Add("room.IXI.state.*._", []byte(`{"event_id":"$e","room_id":"!r","type":"m.x","sender":"@a:x","state_key":"","content":{"a":"\ud800"}}`))
	f.Fuzz(func(t *testing.T, subject string, raw []byte) {
		ev, err := ParsePublished(subject, raw)
		switch {
		case err != nil && !errors.Is(err, ErrBadEvent):
			t.Errorf("error is %v", err)
		case err == nil && (ev.Subject() != PublishedAs(subject) || CheckJSON(ev.Content) != nil || !json.Valid(ev.Content)):
			t.Errorf("%s accepts %s", subject, raw)
		}
		ev, _ = ParseRoomEvent(raw)
		if empty, ok := ev.Emptied(); ok && (empty.Subject() != ev.Subject() || string(empty.Content) != "{}") {
			t.Errorf("%s counts as %s", raw, empty.Raw)
		}
		if state, ok := StateOn(subject); ok && ev.Subject() == subject && (state.Type != ev.Type || state.StateKey != ev.StateKey || state.RoomID != ev.RoomID) {
			t.Errorf("subject %s gives the state %+v", subject, state)
		}
	})
}

func FuzzReceipts(f *testing.F) {
	addLines(f, testdata.Receipts(), func(line []byte) { f.Add(line) })
	f.Add([]byte(`{"type":"m.receipt","room_id":"!r","content":{"$m":{"m.read":{"@a:x":{"thread_id":7},"@b:x":{"thread_id":"main"}},"x":7},"$n":[]}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		room, receipts, err := ParseReceipts(raw)
		if err != nil && !errors.Is(err, ErrBadEvent) || room == "" && (err == nil || len(receipts) > 0) {
			t.Errorf("room %q, receipts %v, error %v", room, receipts, err)
		}
		for _, r := range receipts {
			if !IsID(r.User) || !IsID(r.Event) || r.Whole && r.Thread != "" {
				t.Errorf("receipt %+v", r)
			}
		}
	})
}

// A value of a bucket survives being parsed and written, or is an error.
func FuzzBucketValues(f *testing.F) {
	for _, value := range []string{
		`{"user_id":"@a:x","version":1,"pushers":[{"app_id":"a","pushkey":"k","kind":"http","data":{"url":"https://g.example/_matrix/push/v1/notify"}}]}`,
		`{"user_id":"@a:x","version":2,"published":{"override":[{"rule_id":"x","actions":["notify"],"conditions":[{"kind":"x"}]}]},"ignored_users":["@b:x"]}`,
		`{"room_seq":1,"at":1,"event_id":"$e","rule_id":"r","tweaks":{},"notification":{}}`,
		`{"up_to":7}`, `{"seq":7}`, `{`, `null`,
	} {
		f.Add([]byte(value))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if set, err := ParseUserPushers(raw); err == nil {
			again(t, set, ParseUserPushers)
		}
		if set, err := ParseUserPushRules(raw); err == nil {
			_ = set.Global()
			again(t, set, ParseUserPushRules)
		}
		if n, err := ParseNotification(raw); err == nil {
			if _, err := ParseNotification(n.AppendJSON(nil)); err != nil {
				t.Errorf("%s is written as %s: %v", raw, n.AppendJSON(nil), err)
			}
		}
	})
}

// again checks that a value survives being written and parsed.
func again[T any](t *testing.T, value T, parse func([]byte) (T, error)) {
	t.Helper()
	first, err := json.Marshal(value)
	if err != nil {
		t.Fatalf("%+v cannot be written: %v", value, err)
	}
	value, err = parse(first)
	if err != nil {
		t.Fatalf("%s cannot be read: %v", first, err)
	}
	if second, err := json.Marshal(value); err != nil || !bytes.Equal(first, second) {
		t.Errorf("%s was %s before, %v", second, first, err)
	}
}

func FuzzLog(f *testing.F) {
	for _, raw := range []string{
		`{"kind":"notify","room_id":"!r","room_seq":7,"at":1,"event_id":"$e","thread":"$t","again_since":3,` +
			`"decisions":[{"rule_id":"r","prio":"low","tweaks":{}}],"users":[{"user_id":"@a:x","pushers_revision":3}],"notification":{"event_id":"$e"}}`,
		`{"kind":"read","user_id":"@a:x","room_id":"!r","up_to":7,"whole":true}`,
		`{"kind":"read","user_id":"@a:x","room_id":"!r","event_id":"$e"}`,
		`{"kind":"redacted","room_id":"!r","room_seq":7,"seq":3,"users":["@a:x"]}`, `{"kind":"other"}`, `{}`, ``,
	} {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := ParseLog(raw)
		if err != nil {
			if !errors.Is(err, ErrBadNotification) {
				t.Errorf("error is %v", err)
			}
			return
		}
		var again []byte
		switch m.Kind {
		case LogNotify:
			again = m.Notify.AppendJSON(nil)
			for i := range m.Notify.Decisions {
				if n := m.Notify.For(i); !json.Valid(n.Body) {
					t.Errorf("decision %d makes %s", i, n.Body)
				}
			}
		case LogRead:
			again = m.Read.AppendJSON(nil)
		case LogRedacted:
			again = m.Redacted.AppendJSON(nil)
		}
		if _, err := ParseLog(again); err != nil {
			t.Errorf("%s was %s before: %v", again, raw, err)
		}
	})
}

func FuzzInboxRoom(f *testing.F) {
	for _, raw := range []string{
		`{"applied":9,"incarnation":1,"older":[3,2,1],"threads":["$t"],"entries":[[3,7,0,0,1],[2,-1,1,5,4294967295]]}`,
		`{"applied":0,"incarnation":0,"entries":[]}`, `{"entries":[[0,0,0,0,0]]}`, `{}`, ``,
	} {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		room, err := ParseInboxRoom(raw)
		if err != nil {
			if !errors.Is(err, ErrBadInbox) {
				t.Errorf("error is %v", err)
			}
			return
		}
		again, err := ParseInboxRoom(room.AppendJSON(nil))
		if err != nil || !slices.Equal(again.Entries, room.Entries) || again.Applied != room.Applied {
			t.Errorf("%s reads as %+v, %+v before: %v", raw, again, room, err)
		}
	})
}
