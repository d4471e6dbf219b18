package pushgateway

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func message() *Notification {
	return &Notification{
		EventID: "$event", RoomID: "!room:example.org", Type: "m.room.message", Sender: "@a:example.org",
		SenderDisplayName: `A "quoted" name`, RoomName: "Room", RoomAlias: "#room:example.org",
		Content: []byte(`{"msgtype":"m.text","body":"hé\u0000"}`),
	}
}

func phone() *Device {
	return &Device{
		AppID: "org.example.app", Pushkey: "k\"ey", PushkeyTS: 1_700_000_000,
		Data: []byte(`{"format":"x"}`), Tweaks: []byte(`{"sound":"default"}`),
	}
}

// checkJSON compares two JSON texts, ignoring the order of members as gateways do.
func checkJSON(t *testing.T, got []byte, want string) {
	t.Helper()
	var g, w any
	if err := json.Unmarshal(got, &g); err != nil {
		t.Fatalf("%s: %v", got, err)
	}
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(g, w) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestAppendBody(t *testing.T) {
	const device = `{"app_id":"org.example.app","pushkey":"k\"ey","pushkey_ts":1700000000,
		"data":{"format":"x"},"tweaks":{"sound":"default"}}`
	got := AppendBody([]byte(""), message().AppendJSON(nil), 3, phone())
	checkJSON(t, got, `{"notification":{"event_id":"$event","room_id":"!room:example.org","type":"m.room.message",
		"sender":"@a:example.org","sender_display_name":"A \"quoted\" name","room_name":"Room",
		"room_alias":"#room:example.org","prio":"high","content":{"msgtype":"m.text","body":"hé\u0000"},
		"counts":{"unread":3},"devices":[`+device+`]}}`)

	got = AppendBody(nil, nil, 0, phone())
	checkJSON(t, got, `{"notification":{"counts":{"unread":0},"devices":[`+device+`]}}`)
	got = AppendBody(nil, []byte(`{}`), NoCounts, phone())
	checkJSON(t, got, `{"notification":{"devices":[`+device+`]}}`)
}

func TestAppendBodyLeavesOutWhatIsAbsent(t *testing.T) {
	n := &Notification{Prio: Low, EventID: "$e", RoomID: "!r", Type: "t", Sender: "@s", Content: []byte("null")}
	for _, d := range []*Device{
		{AppID: "a", Pushkey: "k"},
		{AppID: "a", Pushkey: "k", Data: []byte("null"), Tweaks: []byte("{}")},
	} {
		checkJSON(t, AppendBody(nil, n.AppendJSON(nil), NoCounts, d),
			`{"notification":{"event_id":"$e","room_id":"!r","type":"t","sender":"@s","prio":"low",
			"devices":[{"app_id":"a","pushkey":"k"}]}}`)
	}
	checkJSON(t, AppendBody(nil, nil, NoCounts, &Device{AppID: "a", Pushkey: "k", Data: []byte("{}")}),
		`{"notification":{"devices":[{"app_id":"a","pushkey":"k","data":{}}]}}`)
}

func TestAppendJSONMemberEvent(t *testing.T) {
	n := &Notification{EventID: "$e", Membership: "invite", UserIsTarget: true, Content: []byte(`{}`)}
	checkJSON(t, n.AppendJSON(nil),
		`{"event_id":"$e","membership":"invite","user_is_target":true,"prio":"high","content":{}}`)
	n.UserIsTarget = false
	checkJSON(t, n.AppendJSON(nil),
		`{"event_id":"$e","membership":"invite","user_is_target":false,"prio":"high","content":{}}`)
	n.Membership, n.UserIsTarget = "", true // not a member event
	checkJSON(t, n.AppendJSON(nil), `{"event_id":"$e","prio":"high","content":{}}`)
}

func TestWithPrio(t *testing.T) {
	low := message()
	low.Prio = Low
	for want, n := range map[string]*Notification{"low": message(), "high": low} {
		before := string(n.AppendJSON(nil))
		given := []byte(before)
		got := WithPrio(given, want)
		n.Prio = map[string]Priority{"low": Low, "high": High}[want]
		if !bytes.Equal(got, n.AppendJSON(nil)) || string(given) != before {
			t.Errorf("with prio %s: %s", want, got)
		}
		if again := WithPrio(got, want); &again[0] != &got[0] {
			t.Error("copied although the prio is unchanged")
		}
	}
	for _, odd := range []string{"", "{}", `{"prio":7}`, `{"prio":"low`} {
		if got := WithPrio([]byte(odd), "high"); string(got) != odd {
			t.Errorf("%s became %s", odd, got)
		}
	}
}

// All users of an event can share one tail.
func TestAppendTailIsShared(t *testing.T) {
	n := message()
	tail := n.AppendTail(nil)
	for _, prio := range []Priority{High, Low} {
		n.Prio = prio
		if got, want := string(append(n.AppendHead(nil), tail...)), string(n.AppendJSON(nil)); got != want {
			t.Errorf("%s: %s, want %s", prio, got, want)
		}
	}
}

func TestAppendEventIDOnlyBody(t *testing.T) {
	n := message()
	n.Prio, n.Membership = Low, "join"
	n.Content = []byte(`{"event_id":"$other","prio":"high"}`)
	checkJSON(t, AppendEventIDOnlyBody(nil, n.AppendJSON(nil), 3, phone()),
		`{"notification":{"event_id":"$event","room_id":"!room:example.org","prio":"low","counts":{"unread":3},
		"devices":[{"app_id":"org.example.app","pushkey":"k\"ey","pushkey_ts":1700000000,"data":{"format":"x"}}]}}`)
	checkJSON(t, AppendEventIDOnlyBody(nil, nil, NoCounts, &Device{AppID: "a", Pushkey: "k"}),
		`{"notification":{"devices":[{"app_id":"a","pushkey":"k"}]}}`)
}

func TestStripURL(t *testing.T) {
	for data, want := range map[string]string{
		`{"url":"https://a"}`:                  `{}`,
		`{}`:                                   `{}`,
		` { "url" : "x" } `:                    `{}`,
		`{"url":"x","format":"event_id_only"}`: `{"format":"event_id_only"}`,
		`{"a":1.50,"url":"x","b":[ 1, {"url":"y"}]}`: `{"a":1.50,"b":[ 1, {"url":"y"}]}`,
		`{"url":"x","a":"\u00e9é","url":"y"}`:        `{"a":"\u00e9é"}`,
		`{"\u0075rl":"x","URL":1,"url2":2}`:          `{"URL":1,"url2":2}`,
		`{"url":{"a":[1,2]},"c\"d":null}`:            `{"c\"d":null}`,
	} {
		got, err := StripURL([]byte(data))
		if err != nil || string(got) != want {
			t.Errorf("%s: %s, %v, want %s", data, got, err, want)
		}
	}
	for _, data := range []string{"", "null", "[]", `"url"`, `{"url":"x"`, `{"url":tok3n}`, `{} x`, `{"a":}`} {
		got, err := StripURL([]byte(data))
		if err == nil || got != nil || strings.Contains(err.Error(), "tok3n") {
			t.Errorf("%s: %s, %v", data, got, err)
		}
	}
}

func FuzzStripURL(f *testing.F) {
	for _, data := range []string{`{"url":"x"}`, `{"a":{"url":1},"\u0075rl":[]}`, `{"a":1,"a":2}`, ` {"":null} `} {
		f.Add([]byte(data))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := StripURL(data)
		if err != nil {
			return
		}
		var before, after map[string]json.RawMessage
		if json.Unmarshal(data, &before) != nil || json.Unmarshal(got, &after) != nil {
			t.Fatalf("%q: %q", data, got)
		}
		delete(before, "url")
		if !reflect.DeepEqual(before, after) {
			t.Fatalf("%q: %q", data, got)
		}
	})
}

// Whatever the strings contain, the body is JSON and has the given values.
func FuzzAppendBody(f *testing.F) {
	f.Add("$e", "Room \u2028", "key\xff", 1)
	f.Add("", "", "", NoCounts)
	f.Fuzz(func(t *testing.T, eventID, roomName, pushkey string, unread int) {
		n := &Notification{EventID: eventID, RoomName: roomName, Content: []byte(`{"a":1}`)}
		object := n.AppendJSON(nil)
		dev := &Device{AppID: "a", Pushkey: pushkey, Data: []byte(`{}`)}
		for _, body := range [][]byte{
			AppendBody(nil, object, unread, dev), AppendEventIDOnlyBody(nil, object, unread, dev),
		} {
			var got struct {
				Notification struct {
					EventID string `json:"event_id"`
					Devices []struct{ Pushkey string }
				}
			}
			if err := json.Unmarshal(body, &got); err != nil {
				t.Fatalf("%s: %v", body, err)
			}
			// The conversion to runes turns each invalid byte into U+FFFD, as the body
			// must.
			if got.Notification.EventID != string([]rune(eventID)) ||
				got.Notification.Devices[0].Pushkey != string([]rune(pushkey)) {
				t.Fatalf("%s", body)
			}
		}
	})
}

func BenchmarkAppendBody(b *testing.B) {
	object, dev := message().AppendJSON(nil), phone()
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendBody(buf[:0], object, 3, dev)
	}
}

func BenchmarkAppendEventIDOnlyBody(b *testing.B) {
	object, dev := message().AppendJSON(nil), phone()
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendEventIDOnlyBody(buf[:0], object, 3, dev)
	}
}

func BenchmarkAppendNotification(b *testing.B) {
	n := message()
	tail := n.AppendTail(nil)
	var buf []byte
	b.Run("whole", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			buf = n.AppendJSON(buf[:0])
		}
	})
	b.Run("tail shared", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			buf = append(n.AppendHead(buf[:0]), tail...)
		}
	})
}

// The id of the device's user is in every body, also in one about nothing.
func TestBodyNamesTheUser(t *testing.T) {
	d := &Device{AppID: "a", Pushkey: "k", User: `@"b":x`}
	const devices = `"devices":[{"app_id":"a","pushkey":"k"}],"poked.user_id":"@\"b\":x"`
	checkJSON(t, AppendBody(nil, nil, 1, d), `{"notification":{"counts":{"unread":1},`+devices+`}}`)
	checkJSON(t, AppendBody(nil, []byte(`{"prio":"low"}`), NoCounts, d), `{"notification":{"prio":"low",`+devices+`}}`)
	checkJSON(t, AppendEventIDOnlyBody(nil, message().AppendJSON(nil), NoCounts, d),
		`{"notification":{"event_id":"$event","room_id":"!room:example.org","prio":"high",`+devices+`}}`)
}
