package events

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/tidwall/gjson"
)

// Notification is the decision that one event notifies one user. The stream
// NOTIFICATIONS keeps it under notify.<part>.<user>.<room>, so user and room
// stand in the subject and only there.
type Notification struct {
	EventID EventID
	// RoomSeq is the event's sequence in the stream ROOMS: what makes a
	// notification recognizable when its event is matched a second time.
	RoomSeq uint64
	// At is when the event was stored in ROOMS, to the millisecond: where its
	// time to live and its latency are counted from.
	At time.Time
	// RuleID is the push rule that matched.
	RuleID    string
	Highlight bool
	Tweaks    []byte // JSON object, the poke's tweaks
	// Body is the notification object of the Push Gateway API without counts
	// and devices, ready to be sent.
	Body []byte
}

// ErrBadNotification says that a message in NOTIFICATIONS cannot be read.
var ErrBadNotification = errors.New("bad notification")

// AppendJSON appends the notification as it is stored. Body stands last, so
// that a reader who wants the small fields stops before it.
func (n *Notification) AppendJSON(dst []byte) []byte {
	dst = append(dst, `{"room_seq":`...)
	dst = strconv.AppendUint(dst, n.RoomSeq, 10)
	dst = append(dst, `,"at":`...)
	dst = strconv.AppendInt(dst, n.At.UnixMilli(), 10)
	dst = append(dst, `,"event_id":`...)
	dst = appendString(dst, string(n.EventID))
	dst = append(dst, `,"rule_id":`...)
	dst = appendString(dst, n.RuleID)
	if n.Highlight {
		dst = append(dst, `,"highlight":true`...)
	}
	dst = append(dst, `,"tweaks":`...)
	dst = append(dst, n.Tweaks...)
	dst = append(dst, `,"notification":`...)
	dst = append(dst, n.Body...)
	return append(dst, '}')
}

// appendString quotes an id. Ids are short and mostly plain ASCII, for which
// quoting is a copy.
func appendString(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= 0x7f || c == '"' || c == '\\' {
			quoted, err := json.Marshal(s)
			if err != nil { // cannot happen for a string
				return append(dst, `""`...)
			}
			return append(dst, quoted...)
		}
	}
	dst = append(dst, '"')
	dst = append(dst, s...)
	return append(dst, '"')
}

// ParseNotification reads what [Notification.AppendJSON] wrote; the result
// refers to raw. Errors wrap [ErrBadNotification].
func ParseNotification(raw []byte) (Notification, error) {
	if !gjson.ValidBytes(raw) {
		return Notification{}, fmt.Errorf("%w: not JSON", ErrBadNotification)
	}
	var n Notification
	part := func(value gjson.Result) []byte { return raw[value.Index : value.Index+len(value.Raw)] }
	gjson.ParseBytes(raw).ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "room_seq":
			n.RoomSeq = value.Uint()
		case "at":
			n.At = time.UnixMilli(value.Int())
		case "event_id":
			n.EventID = EventID(value.Str)
		case "rule_id":
			n.RuleID = value.Str
		case "highlight":
			n.Highlight = value.Bool()
		case "tweaks":
			n.Tweaks = part(value)
		case "notification":
			n.Body = part(value)
		}
		return true
	})
	if n.EventID == "" || n.RoomSeq == 0 || !isObject(n.Body) || !isObject(n.Tweaks) {
		return Notification{}, fmt.Errorf("%w: a field is missing", ErrBadNotification)
	}
	return n, nil
}

func isObject(raw []byte) bool { return len(raw) >= 2 && raw[0] == '{' }
