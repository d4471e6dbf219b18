package eventstest

import (
	"fmt"
	"time"

	"poked/events"
	"poked/events/pushrule"
)

// GoodEvent is a valid state event.
const GoodEvent = `{"event_id":"$e","room_id":"!r","type":"m.x","sender":"@a:x","state_key":"","content":{"body":"hi"}}`

// Notification returns a plain notification.
func Notification() events.Notification {
	return events.Notification{
		About: events.About{EventID: "$e", RoomSeq: 7, At: time.UnixMilli(1_700_000_000_123)}, RuleID: ".m.rule.message",
		Tweaks: []byte(`{}`), Body: []byte(`{"prio":"high","event_id":"$e"}`),
	}
}

// SomePusher returns a pusher of the gateway gw.test.
func SomePusher(pushkey string) events.Pusher {
	return events.Pusher{AppID: "app", Pushkey: pushkey, Data: []byte(`{"url":"http://gw.test/_matrix/push/v1/notify"}`)}
}

// Keyword returns the rules of a user with one keyword, which notifies with a sound and
// a highlight.
func Keyword(word string) pushrule.Changes {
	return pushrule.Changes{Content: []pushrule.Rule{{
		ID: word, Enabled: true, Pattern: &word,
		Actions: []pushrule.Action{`"notify"`, `{"set_tweak":"sound","value":"ping"}`, `{"set_tweak":"highlight"}`},
	}}}
}

// Room is the room of [Message].
const Room = events.RoomID("!room:example.org")

// Message returns the message with this number in [Room].
func Message(n int) []byte {
	return fmt.Appendf(nil, `{"event_id":"$e%d","room_id":%q,"type":"m.room.message","sender":"@a:example.org","content":{"n":%d}}`, n, Room, n)
}
