package pushrule

import (
	"encoding/json"
	"reflect"
	"testing"
)

func TestParseQuestion(t *testing.T) {
	q, err := ParseQuestion([]byte(`{"ruleset": "spec-v1.19-defaults", "note": "of no interest",
		"event": {"sender": "@a:x", "room_id": "!a:x"},
		"context": {"user_id": "@me:x", "display_name": "Me", "room_member_count": 7, "room_version": "org.example.13",
			"room_creators": ["@a:x"], "sender_power_levels": {"users": {"@a:x": 30}}, "notification_levels": {"room": 20},
			"thread_subscription": false, "related_events": {"m.thread": {"sender": "@b:x"}}}}`))
	if err != nil {
		t.Fatal(err)
	}
	room := q.Event.room
	if room.MemberCount != 7 || room.SenderLevel != 30 || !room.SenderIsCreator || room.NotificationLevels["room"] != 20 {
		t.Errorf("room: %+v", room)
	}
	if q.User != (User{ID: "@me:x", DisplayName: "Me"}) || q.Event.subscribed == nil || q.Event.subscribed("@me:x") {
		t.Errorf("user: %+v", q.User)
	}
	if q.Event.related["m.thread"].sender != "@b:x" {
		t.Errorf("related events: %+v", q.Event.related)
	}
	if want := Predefined("@me:x"); !q.IsWhole || !reflect.DeepEqual(q.Rules, want) {
		t.Errorf("rules: %+v", q.Rules)
	}
}

// FuzzQuestion checks that every line is either parsed or an error, and that evaluating it does not panic.
func FuzzQuestion(f *testing.F) {
	for i, v := range readVectors(f).Vectors {
		if i%20 == 0 {
			f.Add([]byte(v.raw))
		}
	}
	f.Add([]byte(`{"rule":{"pattern":"a"},"kind":"content","event":{"content":{"body":"a"}},"context":{"display_name":"a"}}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		q, err := ParseQuestion(line)
		if err != nil {
			return
		}
		if !json.Valid(line) {
			t.Errorf("read what is no JSON: %q", line)
		}
		checkExplained(t, Explain(&q.Rules, q.Event, q.User), evaluate(q))
	})
}
