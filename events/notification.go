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
// NOTIFICATIONS keeps it under notify.<part>.<user>.<room>.<thread>, so user and
// room stand in the subject and only there.
type Notification struct {
	// PushersRevision is the revision in PUSHERS of the user's pushers by which match
	// decided, or 0. Deliver waits until it knows them as they were then: it hears of
	// changes by itself, and may hear of one later.
	PushersRevision uint64
	EventID         EventID
	// RoomSeq is the event's sequence in the stream ROOMS: what makes a
	// notification recognizable when its event is matched a second time.
	RoomSeq uint64
	// At is when the event was stored in ROOMS, or when its dead letter was tried
	// again, to the millisecond: where its time to live and its latency are
	// counted from.
	At time.Time
	// SentAt is the event's origin_server_ts, in milliseconds since the Unix epoch;
	// 0 if it has none.
	SentAt int64
	// Thread is the root of the thread that the event belongs to, or "" for the main
	// timeline.
	Thread EventID
	// RuleID is the push rule that matched, among those for all devices if they
	// notify, else among those of the first device, by handle, that is notified.
	// Highlight, Tweaks and the prio in Body are of the same outcome.
	RuleID    string
	Highlight bool
	Tweaks    []byte // JSON object, the poke's tweaks
	// Only is the one pusher that is to be told, when a dead letter is tried
	// again: every other pusher of the user counts as told. Empty means all. The
	// notification counts as unread a second time until its room is read.
	Only PusherID
	// Silent says that the rules for all devices do not notify: only Devices are
	// to be told.
	Silent bool
	// Devices are the outcomes of single devices whose own rules matched, by
	// instance handle. Absent, as Silent is, for users without such rules. A
	// notification counts as unread whichever device it was for.
	Devices map[string]DeviceOutcome
	// Body is the notification object of the Push Gateway API without counts
	// and devices, ready to be sent.
	Body []byte
}

// DeviceOutcome is what the push rules of one device say of an event.
type DeviceOutcome struct {
	Notify    bool            `json:"notify"`
	Highlight bool            `json:"highlight,omitempty"`
	Tweaks    json.RawMessage `json:"tweaks"` // JSON object, the poke's tweaks
	Prio      string          `json:"prio"`   // "high" or "low" (Push Gateway API)
}

// Of returns the outcome for a pusher with an instance handle, which may be "",
// and whether it is the device's own. If not, the pusher is to be told what the
// notification itself says, unless it is Silent.
func (n *Notification) Of(handle string) (device DeviceOutcome, own bool) {
	if n.Devices == nil {
		return DeviceOutcome{}, false
	}
	device, own = n.Devices[handle]
	return device, own
}

// Reaches says whether a pusher with an instance handle is to be told.
func (n *Notification) Reaches(handle string) bool {
	if device, own := n.Of(handle); own {
		return device.Notify
	}
	return !n.Silent
}

// ErrBadNotification says that a message in NOTIFICATIONS cannot be read.
var ErrBadNotification = errors.New("bad notification")

// AppendJSON appends the notification as it is stored. Body stands last, so
// that a reader who wants the small fields stops before it.
func (n *Notification) AppendJSON(dst []byte) []byte {
	dst = append(dst, '{')
	if n.PushersRevision != 0 {
		dst = appendRevision(dst, n.PushersRevision)
	}
	dst = append(dst, `"room_seq":`...)
	dst = strconv.AppendUint(dst, n.RoomSeq, 10)
	dst = append(dst, `,"at":`...)
	dst = strconv.AppendInt(dst, n.At.UnixMilli(), 10)
	dst = append(dst, `,"event_id":`...)
	dst = appendString(dst, string(n.EventID))
	if n.SentAt != 0 {
		dst = append(dst, `,"sent_at":`...)
		dst = strconv.AppendInt(dst, n.SentAt, 10)
	}
	if n.Thread != "" {
		dst = append(dst, `,"thread":`...)
		dst = appendString(dst, string(n.Thread))
	}
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

// AppendWithRevision appends a notification that [Notification.AppendJSON] wrote without
// a PushersRevision, with this one. What many users share is written once that way.
func AppendWithRevision(dst, record []byte, revision uint64) []byte {
	if revision == 0 {
		return append(dst, record...)
	}
	return append(appendRevision(append(dst, '{'), revision), record[1:]...)
}

// PushersRevisionOf returns the PushersRevision of a notification as it is stored, in
// place of [ParseNotification] where nothing else of it is needed.
func PushersRevisionOf(raw []byte) uint64 { return gjson.GetBytes(raw, "pushers_revision").Uint() }

func appendRevision(dst []byte, revision uint64) []byte {
	return append(strconv.AppendUint(append(dst, `"pushers_revision":`...), revision, 10), ',')
}

func appendDevices(dst []byte, devices map[string]DeviceOutcome) []byte {
	raw, err := json.Marshal(devices)
	if err != nil { // cannot happen while all tweaks are JSON
		return append(dst, `{}`...)
	}
	return append(dst, raw...)
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

// setField reads one of the small fields.
func (n *Notification) setField(key string, value gjson.Result) {
	switch key {
	case "pushers_revision":
		n.PushersRevision = value.Uint()
	case "room_seq":
		n.RoomSeq = value.Uint()
	case "at":
		n.At = time.UnixMilli(value.Int())
	case "event_id":
		n.EventID = EventID(value.Str)
	case "sent_at":
		n.SentAt = value.Int()
	case "thread":
		n.Thread = EventID(value.Str)
	case "rule_id":
		n.RuleID = value.Str
	case "highlight":
		n.Highlight = value.Bool()
	case "only":
		n.Only = PusherID(value.Str)
	case "silent":
		n.Silent = value.Bool()
	}
}

func (n *Notification) isWhole() bool {
	return n.EventID != "" && n.RoomSeq != 0 && IsObject(n.Body) && IsObject(n.Tweaks)
}

// parseDevices reads outcomes by handle; ok is false if they are none.
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
