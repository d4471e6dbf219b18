package events

import (
	"fmt"
	"testing"
	"time"
)

// A call rings for its lifetime, which a hostile sender or homeserver stretches to two minutes from
// its arrival at most (MSC4075, "Inflating sender_ts and/or lifetime").
func TestCallRingsForItsLifetime(t *testing.T) {
	arrival := time.UnixMilli(1_784_493_900_000)
	at := func(after time.Duration) int64 { return arrival.Add(after).UnixMilli() }
	const rtc, unstable, legacy = "m.rtc.invite", "org.matrix.msc4075.rtc.notification", "m.call.invite"
	content := func(sent time.Duration, lifetime string) string {
		return fmt.Sprintf(`{"sender_ts":%d,"lifetime":%s}`, at(sent), lifetime)
	}
	for _, c := range []struct {
		name, kind, content, more string // more is members of the event
		sent                      time.Duration
		want                      time.Duration // after its arrival
	}{
		{name: "usual", kind: rtc, content: content(-3*time.Second, "30000"), sent: -2 * time.Second, want: 27 * time.Second},
		{name: "unstable name", kind: unstable, content: content(-3*time.Second, "30000"), sent: -2 * time.Second, want: 27 * time.Second},
		{name: "first name", kind: "m.rtc.notification", content: content(0, "30000"), want: 30 * time.Second},
		{name: "old name", kind: "org.matrix.msc4075.call.notify", content: `{}`, want: 2 * time.Minute},
		{name: "sender's clock ahead", kind: rtc, content: content(time.Hour, "30000"), want: 30 * time.Second},
		{name: "sender's clock behind", kind: rtc, content: content(-time.Hour, "30000"), want: 30 * time.Second},
		{name: "20 s are allowed", kind: rtc, content: content(20*time.Second, "30000"), want: 50 * time.Second},
		{name: "homeserver's clock ahead", kind: rtc, content: content(time.Hour, "30000"), sent: time.Hour, want: 2 * time.Minute},
		{name: "longer than allowed", kind: rtc, content: content(0, "86400000"), want: 2 * time.Minute},
		{name: "longer than an int", kind: rtc, content: content(0, "1e300"), want: 2 * time.Minute},
		{name: "negative", kind: rtc, content: content(0, "-1"), want: 2 * time.Minute},
		{name: "no number", kind: rtc, content: content(0, `"30000"`), want: 2 * time.Minute},
		{name: "sender_ts no number", kind: rtc, content: `{"sender_ts":[],"lifetime":1000}`, want: time.Second},
		{name: "sender_ts beyond numbers", kind: rtc, content: `{"sender_ts":-1e300,"lifetime":1000}`, want: time.Second},
		{name: "of yesterday", kind: rtc, content: content(-24*time.Hour, "30000"), sent: -24 * time.Hour, want: 30*time.Second - 24*time.Hour},
		{name: "legacy", kind: legacy, content: `{"lifetime":60000}`, sent: -10 * time.Second, want: 50 * time.Second},
		{name: "legacy by its age", kind: legacy, content: `{"lifetime":60000}`, more: `,"unsigned":{"age":5000}`, sent: -time.Hour, want: 55 * time.Second},
		{name: "legacy of the future", kind: legacy, content: `{"lifetime":60000}`, sent: time.Hour, want: time.Minute},
	} {
		raw := fmt.Sprintf(`{"event_id":"$e","room_id":"!r","type":%q,"sender":"@a:x","origin_server_ts":%d,"content":%s%s}`, c.kind, at(c.sent), c.content, c.more)
		ev, err := ParseRoomEvent([]byte(raw))
		if err != nil {
			t.Fatal(err)
		}
		if got := ev.RingsUntil(arrival).Sub(arrival); got != c.want {
			t.Errorf("%s: it rings for %v, want %v", c.name, got, c.want)
		}
	}
	for _, raw := range []string{
		`{"event_id":"$e","room_id":"!r","type":"m.room.message","sender":"@a:x","content":{"lifetime":1000}}`,
		`{"event_id":"$e","room_id":"!r","type":"m.rtc.invite","state_key":"","sender":"@a:x","content":{"lifetime":1000}}`,
		`{"event_id":"$e","room_id":"!r","type":"m.room.encrypted","sender":"@a:x","content":{"lifetime":1000}}`,
	} {
		ev, err := ParseRoomEvent([]byte(raw))
		if until := ev.RingsUntil(arrival); err != nil || !until.IsZero() {
			t.Errorf("%s rings until %v, %v", raw, until, err)
		}
	}
}
