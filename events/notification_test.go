package events_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"poked/events"
	"poked/events/eventstest"
)

func TestNotificationRoundTrip(t *testing.T) {
	for name, change := range map[string]func(*events.Notification){
		"plain":     func(*events.Notification) {},
		"highlight": func(n *events.Notification) { n.Highlight, n.Tweaks = true, []byte(`{"highlight":true}`) },
		"quotes":    func(n *events.Notification) { n.EventID, n.RuleID = `$"\`, "ru\nle\u2028é" },
		"devices": func(n *events.Notification) {
			n.Silent = true
			n.Devices = map[string]events.DeviceOutcome{
				`a "b"`: {Notify: true, Highlight: true, Tweaks: []byte(`{"sound":"x"}`), Prio: "high"},
				"":      {Tweaks: []byte(`{}`), Prio: "low"},
			}
		},
		"avatar": func(n *events.Notification) { n.RoomAvatar = "mxc://example.org/x" },
		"old":    func(n *events.Notification) { n.At = time.UnixMilli(-1) },
		"nested": func(n *events.Notification) { n.Body = []byte(`{"content":{"room_seq":1,"notification":{}}}`) },
	} {
		n := eventstest.Notification()
		change(&n)
		raw := n.AppendJSON(nil)
		if !json.Valid(raw) {
			t.Errorf("%s: not JSON: %s", name, raw)
		}
		for _, stored := range [][]byte{raw, append([]byte(" \n"), raw...)} {
			back, err := events.ParseNotification(stored)
			if err != nil || !reflect.DeepEqual(back, n) {
				t.Errorf("%s: %+v was parsed as %+v, %v", name, n, back, err)
			}
		}
	}
}

func TestParseNotificationRefusals(t *testing.T) {
	for _, raw := range []string{
		``, `{`, `[]`, `"CANARY"`, `{}`, `{"room_seq":"CANARY"}`,
		`{"room_seq":0,"event_id":"$CANARY","tweaks":{},"notification":{}}`,
		`{"room_seq":1,"event_id":"$CANARY","tweaks":[],"notification":{}}`,
		`{"room_seq":1,"event_id":"$CANARY","tweaks":{},"notification":"CANARY"}`,
		`{"room_seq":1,"event_id":"$CANARY","tweaks":{}}`,
		`{"room_seq":1,"tweaks":{},"notification":{"x":"CANARY"}}`,
		`{"room_seq":1,"event_id":"$CANARY","tweaks":{},"devices":["CANARY"],"notification":{}}`,
		`{"room_seq":1,"event_id":"$CANARY","tweaks":{},"devices":{"CANARY":{"tweaks":"CANARY"}},"notification":{}}`,
		`{"room_seq":1,"event_id":"$CANARY","tweaks":{},"devices":{"CANARY":{}},"notification":{}}`,
	} {
		_, err := events.ParseNotification([]byte(raw))
		if !errors.Is(err, events.ErrBadNotification) || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%s: %v", raw, err)
		}
	}
}

func TestNotificationReaches(t *testing.T) {
	device := func(notify bool) map[string]events.DeviceOutcome {
		return map[string]events.DeviceOutcome{"phone": {Notify: notify}}
	}
	for _, tc := range []struct {
		n           events.Notification
		phone, desk bool
	}{
		{events.Notification{}, true, true},
		{events.Notification{Devices: device(false)}, false, true},
		{events.Notification{Devices: device(true)}, true, true},
		{events.Notification{Silent: true, Devices: device(true)}, true, false},
		{events.Notification{Silent: true, Devices: device(false)}, false, false},
	} {
		if phone, desk, none := tc.n.Reaches("phone"), tc.n.Reaches("desk"), tc.n.Reaches(""); phone != tc.phone || desk != tc.desk || none != tc.desk {
			t.Errorf("%+v reaches the phone: %t, the desk: %t, without a handle: %t", tc.n, phone, desk, none)
		}
	}
}

func FuzzParseNotification(f *testing.F) {
	n := eventstest.Notification()
	f.Add(n.AppendJSON(nil))
	n.Devices = map[string]events.DeviceOutcome{"h": {Tweaks: []byte(`{}`)}}
	f.Add(n.AppendJSON(nil))
	f.Add([]byte(` {"tweaks":{},"notification":{}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		n, err := events.ParseNotification(raw)
		if err != nil {
			if !errors.Is(err, events.ErrBadNotification) {
				t.Errorf("error is %v", err)
			}
			return
		}
		if again, err := events.ParseNotification(n.AppendJSON(nil)); err != nil || again.EventID == "" {
			t.Errorf("what was read cannot be written: %v", err)
		}
	})
}
