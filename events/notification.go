package events

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"
)

// About is what a message of NOTIFICATIONS and a [Notification] tell of their event.
type About struct {
	EventID EventID
	// RoomSeq is the event's sequence in the stream ROOMS. It identifies a notification
	// when its event is matched again.
	RoomSeq uint64
	// At is when the event was stored in ROOMS, or when its dead letter was retried, to
	// the millisecond. Time to live and latency count from here.
	At time.Time
	// SentAt is the event's origin_server_ts, in milliseconds since the Unix epoch, or 0
	// if it has none.
	SentAt int64
	// Thread is the root of the thread that the event belongs to, or "" for the main
	// timeline.
	Thread EventID
	// Trace is where the event stands in a trace, or "".
	Trace TraceParent
	// RingsUntil is when a call is over ([RoomEvent.RingsUntil]), in milliseconds since the
	// Unix epoch, or 0 if the event is none.
	RingsUntil int64
	// RoomAvatar is the URI (mxc) of the room's avatar, for pushers that ask for it, or "" if it has none or match keeps
	// none.
	RoomAvatar string
	// Only names the one pusher to deliver to when a dead letter is retried; "" means all
	// of the user's pushers. Such a notification was stored before, and does not count as
	// unread a second time.
	Only PusherID
}

// Notification is the decision that one event notifies one user. The stream NOTIFICATIONS
// has it as part of a [LogNotification], and a dead letter as it is.
type Notification struct {
	About

	// RuleID is the push rule that matched: one of the rules for all devices if they
	// notify, else one of the first device, by handle, that is notified. Highlight,
	// Tweaks and the prio in Body belong to the same outcome.
	RuleID    string
	Highlight bool
	Tweaks    []byte // JSON object, the poke's tweaks
	// Silent reports that the rules for all devices do not notify, so that only Devices
	// are notified.
	Silent bool
	// Devices are the outcomes of the rules of single devices, by instance handle, where
	// such a rule matched. It is nil for users without such rules. A notification counts
	// as unread whichever device it is for.
	Devices map[string]DeviceOutcome
	// Body is the notification object of the Push Gateway API, without counts and
	// devices.
	Body []byte
}

// DeviceOutcome is the outcome of one device's own push rules for an event.
type DeviceOutcome struct {
	Notify    bool            `json:"notify"`
	Highlight bool            `json:"highlight,omitempty"`
	Tweaks    json.RawMessage `json:"tweaks"` // JSON object, the poke's tweaks
	Prio      string          `json:"prio"`   // "high" or "low" (Push Gateway API)
}

// Of returns the outcome for a pusher with this instance handle, which may be "". own
// reports whether the device's own rules decided; if not, the notification itself
// applies, unless it is Silent.
func (n *Notification) Of(handle string) (device DeviceOutcome, own bool) {
	if n.Devices == nil {
		return DeviceOutcome{}, false
	}
	device, own = n.Devices[handle]
	return device, own
}

// Reaches reports whether pushers with this instance handle are notified.
func (n *Notification) Reaches(handle string) bool {
	if device, own := n.Of(handle); own {
		return device.Notify
	}
	return !n.Silent
}

// Log returns the message of NOTIFICATIONS that notifies one user of the same.
func (n *Notification) Log(user UserID, room RoomID) LogNotification {
	prio, shared := n.split()
	return LogNotification{
		RoomID: room, About: n.About, Body: shared,
		Decisions: []Decision{{
			RuleID: n.RuleID, Highlight: n.Highlight, Tweaks: n.Tweaks, Silent: n.Silent, Devices: n.Devices, Prio: prio,
		}},
		Users: []LogUser{{UserID: user}},
	}
}

// split splits Body into its prio and the rest.
func (n *Notification) split() (prio string, rest []byte) {
	after, found := bytes.CutPrefix(n.Body, []byte(`{"prio":"`))
	prio, others, closed := strings.Cut(string(after), `"`)
	if !found || !closed {
		return "", n.Body
	}
	return prio, []byte("{" + strings.TrimPrefix(others, ","))
}

// ErrBadNotification is wrapped by errors about a message in NOTIFICATIONS that cannot be
// read.
var ErrBadNotification = errors.New("bad notification")

// AppendJSON appends the notification as it is stored. Body comes last, so that a reader
// of the small fields can stop before it.
func (n *Notification) AppendJSON(dst []byte) []byte {
	dst = n.appendMembers(append(dst, '{'))
	dst = append(dst, `,"rule_id":`...)
	dst = appendString(dst, n.RuleID)
	if n.Highlight {
		dst = append(dst, `,"highlight":true`...)
	}
	if n.Only != "" {
		dst = append(dst, `,"only":`...)
		dst = appendString(dst, string(n.Only))
	}
	dst = append(dst, `,"tweaks":`...)
	dst = append(dst, n.Tweaks...)
	if n.Silent {
		dst = append(dst, `,"silent":true`...)
	}
	if len(n.Devices) > 0 {
		dst = appendDevices(append(dst, `,"devices":`...), n.Devices)
	}
	dst = append(dst, `,"notification":`...)
	dst = append(dst, n.Body...)
	return append(dst, '}')
}

// appendMembers appends the members of an object, all but Only.
func (a *About) appendMembers(dst []byte) []byte {
	dst = append(dst, `"room_seq":`...)
	dst = strconv.AppendUint(dst, a.RoomSeq, 10)
	dst = append(dst, `,"at":`...)
	dst = strconv.AppendInt(dst, a.At.UnixMilli(), 10)
	dst = append(dst, `,"event_id":`...)
	dst = appendString(dst, string(a.EventID))
	if a.SentAt != 0 {
		dst = append(dst, `,"sent_at":`...)
		dst = strconv.AppendInt(dst, a.SentAt, 10)
	}
	if a.Thread != "" {
		dst = append(dst, `,"thread":`...)
		dst = appendString(dst, string(a.Thread))
	}
	if a.Trace != "" {
		dst = append(dst, `,"traceparent":`...)
		dst = appendString(dst, string(a.Trace))
	}
	if a.RingsUntil != 0 {
		dst = append(dst, `,"rings_until":`...)
		dst = strconv.AppendInt(dst, a.RingsUntil, 10)
	}
	if a.RoomAvatar != "" {
		dst = append(dst, `,"room_avatar":`...)
		dst = appendString(dst, a.RoomAvatar)
	}
	return dst
}

// setMember parses a member, if it is one of these.
func (a *About) setMember(key string, value gjson.Result) {
	switch key {
	case "room_seq":
		a.RoomSeq = value.Uint()
	case "at":
		a.At = time.UnixMilli(value.Int())
	case "event_id":
		a.EventID = EventID(value.Str)
	case "sent_at":
		a.SentAt = value.Int()
	case "thread":
		a.Thread = EventID(value.Str)
	case "traceparent":
		a.Trace = ParseTraceParent(value.Str)
	case "rings_until":
		a.RingsUntil = value.Int()
	case "room_avatar":
		a.RoomAvatar = value.Str
	case "only":
		a.Only = PusherID(value.Str)
	}
}

func appendDevices(dst []byte, devices map[string]DeviceOutcome) []byte {
	raw, err := json.Marshal(devices)
	if err != nil { // cannot happen while all tweaks are JSON
		return append(dst, `{}`...)
	}
	return append(dst, raw...)
}

// appendString appends an id as a JSON string. Ids are short and mostly plain ASCII,
// which is copied.
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

// ParseNotification parses what [Notification.AppendJSON] wrote. The result refers to
// raw. Errors wrap [ErrBadNotification].
func ParseNotification(raw []byte) (Notification, error) {
	if !gjson.ValidBytes(raw) {
		return Notification{}, fmt.Errorf("%w: not JSON", ErrBadNotification)
	}
	var n Notification
	devices := true
	part := func(value gjson.Result) []byte { return raw[value.Index : value.Index+len(value.Raw)] }
	gjson.ParseBytes(raw).ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "tweaks":
			n.Tweaks = part(value)
		case "devices":
			n.Devices, devices = parseDevices(value.Raw)
		case "notification":
			n.Body = part(value)
		default:
			n.setField(key.Str, value)
		}
		return true
	})
	if !n.isWhole() || !devices {
		return Notification{}, fmt.Errorf("%w: a field is missing", ErrBadNotification)
	}
	return n, nil
}

// setField parses one of the small fields.
func (n *Notification) setField(key string, value gjson.Result) {
	switch key {
	case "rule_id":
		n.RuleID = value.Str
	case "highlight":
		n.Highlight = value.Bool()
	case "silent":
		n.Silent = value.Bool()
	default:
		n.setMember(key, value)
	}
}

func (n *Notification) isWhole() bool {
	return n.EventID != "" && n.RoomSeq != 0 && IsObject(n.Body) && IsObject(n.Tweaks)
}

// parseDevices parses outcomes by handle. ok is false if raw is no such object.
func parseDevices(raw string) (devices map[string]DeviceOutcome, ok bool) {
	if err := json.Unmarshal([]byte(raw), &devices); err != nil {
		return nil, false
	}
	for _, device := range devices {
		if !IsObject(device.Tweaks) {
			return nil, false
		}
	}
	return devices, true
}
