package pushgateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"

	"github.com/tidwall/gjson"
)

// Priority is the urgency of a poke (Push Gateway API, prio). The zero value is High,
// which is also the gateways' default.
type Priority uint8

// The two priorities.
const (
	High Priority = iota
	Low
)

// String returns "high" or "low".
func (p Priority) String() string {
	if p == Low {
		return "low"
	}
	return "high"
}

// NoCounts is an unread count that leaves "counts" out of the body, for pushers that
// asked for no badge.
const NoCounts = -1

// A Notification is the part of a poke that describes the event (Push Gateway API,
// Notification without counts and devices). Empty fields are omitted, never sent as ""
// or null.
type Notification struct {
	// Prio and UserIsTarget may differ between the users of one event; the other fields
	// usually do not, see AppendHead.
	Prio         Priority
	UserIsTarget bool // sent for member events only

	EventID           string
	RoomID            string
	Type              string
	Sender            string
	SenderDisplayName string
	RoomName          string
	RoomAlias         string
	Membership        string // set for member events only
	Content           []byte // a valid JSON object, unchanged from the event; anything else is omitted
}

// AppendJSON appends the notification as one JSON object: AppendHead, then
// AppendTail.
func (n *Notification) AppendJSON(dst []byte) []byte {
	return n.AppendTail(n.AppendHead(dst))
}

// AppendHead appends the beginning of the object, with the fields that differ between
// users. To notify many users of one event, append the tail once to a buffer, and put
// each user's head before it.
func (n *Notification) AppendHead(dst []byte) []byte {
	dst = append(dst, `{"prio":"`...)
	dst = append(dst, n.Prio.String()...)
	dst = append(dst, '"')
	if n.Membership != "" {
		dst = append(dst, `,"user_is_target":`...)
		dst = strconv.AppendBool(dst, n.UserIsTarget)
	}
	return dst
}

// WithPrio returns a notification that AppendJSON built, with another prio, for a
// device whose rules differ from the user's. A notification that does not begin with a
// prio is returned unchanged.
func WithPrio(notification []byte, prio string) []byte {
	rest, found := bytes.CutPrefix(notification, []byte(`{"prio":"`))
	end := bytes.IndexByte(rest, '"')
	if !found || end < 0 || string(rest[:end]) == prio {
		return notification
	}
	other := append(make([]byte, 0, len(notification)+len(prio)), `{"prio":`...)
	return append(appendString(other, prio), rest[end+1:]...)
}

// AppendTail appends the rest of the object with its closing brace: the fields that are
// the same for all users of one event.
func (n *Notification) AppendTail(dst []byte) []byte {
	dst = appendField(dst, `,"event_id":`, n.EventID)
	dst = appendField(dst, `,"room_id":`, n.RoomID)
	dst = appendField(dst, `,"type":`, n.Type)
	dst = appendField(dst, `,"sender":`, n.Sender)
	dst = appendField(dst, `,"sender_display_name":`, n.SenderDisplayName)
	dst = appendField(dst, `,"room_name":`, n.RoomName)
	dst = appendField(dst, `,"room_alias":`, n.RoomAlias)
	dst = appendField(dst, `,"membership":`, n.Membership)
	dst = appendObject(dst, `,"content":`, n.Content)
	return append(dst, '}')
}

// A Device is the device to which a poke is addressed (Push Gateway API, Device).
type Device struct {
	AppID     string
	Pushkey   string
	PushkeyTS int64  // when the pushkey was last set, in Unix seconds; 0 omits it
	Data      []byte // the result of StripURL; nil omits it, "{}" is sent
	Tweaks    []byte // a valid JSON object; nil or "{}" omits it

	// User is the id of the device's user, for clients that ask for it: "poked.user_id" of the
	// notification; "" omits it.
	User string
	// RoomAvatar is the URI of the room's avatar, for clients that ask for it: "poked.room_avatar"
	// of the notification; "" omits it. AppendEventIDOnlyBody omits it always.
	RoomAvatar string
}

// AppendBody appends the body of a poke. The notification is what AppendJSON built, or
// nil for a poke that only updates the badge. A negative unread omits the counts; zero
// is sent, since it clears a badge.
func AppendBody(dst, notification []byte, unread int, dev *Device) []byte {
	dst = dev.appendHead(append(dst, `{"notification":{"devices":[{`...))
	if len(dev.Tweaks) > len(`{}`) {
		dst = appendObject(dst, `,"tweaks":`, dev.Tweaks)
	}
	dst = dev.appendUser(appendCounts(append(dst, `}]`...), unread))
	dst = appendField(dst, `,"poked.room_avatar":`, dev.RoomAvatar)
	if len(notification) <= len(`{}`) {
		return append(dst, `}}`...)
	}
	dst = append(dst, ',')
	dst = append(dst, notification[1:]...)
	return append(dst, '}')
}

// AppendEventIDOnlyBody appends the body of a poke for a pusher whose data has
// "format":"event_id_only": of the notification it has only event_id, room_id and prio,
// and the device has no tweaks. Otherwise it is like AppendBody.
func AppendEventIDOnlyBody(dst, notification []byte, unread int, dev *Device) []byte {
	dst = dev.appendHead(append(dst, `{"notification":{"devices":[{`...))
	dst = dev.appendUser(appendCounts(append(dst, `}]`...), unread))
	for _, field := range [...]struct{ name, member string }{
		{"event_id", `,"event_id":`}, {"room_id", `,"room_id":`}, {"prio", `,"prio":`},
	} {
		if value := gjson.GetBytes(notification, field.name); value.Type == gjson.String {
			dst = append(append(dst, field.member...), value.Raw...)
		}
	}
	return append(dst, `}}`...)
}

// appendHead appends the device's members that precede its data, without braces.
func (d *Device) appendHead(dst []byte) []byte {
	dst = appendString(append(dst, `"app_id":`...), d.AppID)
	dst = appendString(append(dst, `,"pushkey":`...), d.Pushkey)
	if d.PushkeyTS != 0 {
		dst = append(dst, `,"pushkey_ts":`...)
		dst = strconv.AppendInt(dst, d.PushkeyTS, 10)
	}
	return appendObject(dst, `,"data":`, d.Data)
}

// appendUser appends the member that names the device's user.
func (d *Device) appendUser(dst []byte) []byte { return appendField(dst, `,"poked.user_id":`, d.User) }

func appendCounts(dst []byte, unread int) []byte {
	if unread < 0 {
		return dst
	}
	dst = append(dst, `,"counts":{"unread":`...)
	dst = strconv.AppendInt(dst, int64(unread), 10)
	return append(dst, '}')
}

// appendField appends a string member. prefix is its comma, key and colon.
func appendField(dst []byte, prefix, value string) []byte {
	if value == "" {
		return dst
	}
	return appendString(append(dst, prefix...), value)
}

// appendObject appends a raw member if it is a JSON object.
func appendObject(dst []byte, prefix string, raw []byte) []byte {
	if len(raw) == 0 || raw[0] != '{' {
		return dst
	}
	return append(append(dst, prefix...), raw...)
}

// StripURL returns a pusher's data as gateways receive it: without "url", wherever it
// occurs and however it is escaped. All other members keep their order and the bytes of
// their values. Data that is not a valid JSON object is an error, which does not quote
// it.
func StripURL(data []byte) ([]byte, error) {
	object := gjson.ParseBytes(data)
	// encoding/json limits the nesting; gjson's own check recurses without limit.
	if !object.IsObject() || !json.Valid(data) {
		return nil, errors.New("read pusher data: not a JSON object")
	}
	stripped := make([]byte, 0, len(data))
	stripped = append(stripped, '{')
	object.ForEach(func(key, value gjson.Result) bool {
		if key.String() == "url" {
			return true
		}
		if len(stripped) > 1 {
			stripped = append(stripped, ',')
		}
		stripped = append(append(stripped, key.Raw...), ':')
		stripped = append(stripped, value.Raw...)
		return true
	})
	return append(stripped, '}'), nil
}
