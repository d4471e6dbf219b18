package events

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
)

// LogKind is the kind of a message in NOTIFICATIONS: the value of its field "kind".
type LogKind string

// The kinds of messages in NOTIFICATIONS. All messages of a partition of users have the
// subject log.<part>.
const (
	// LogNotify is one event, with the users of the partition whom it notifies:
	// [LogNotification].
	LogNotify LogKind = "notify"
	// LogRead is how far a user has read: [Read].
	LogRead LogKind = "read"
	// LogRedacted is that an event was redacted: [Redaction].
	LogRedacted LogKind = "redacted"
	// LogMarked is that a user marked a room as unread, or took that back: [Marked].
	LogMarked LogKind = "marked"
)

// LogSubject returns the subject in NOTIFICATIONS of a partition's messages.
func LogSubject(part int) string { return "log." + strconv.Itoa(part) }

// LogPartition returns the partition of a subject that [LogSubject] returned.
func LogPartition(subject string) (part int, ok bool) {
	digits, ok := strings.CutPrefix(subject, "log.")
	part, err := strconv.Atoi(digits)
	return part, ok && err == nil
}

// LogMessage is a message of NOTIFICATIONS, parsed: the field of its kind is set.
type LogMessage struct {
	Kind     LogKind
	Notify   *LogNotification
	Read     Read
	Redacted Redaction
	Marked   Marked
}

// LogNotification is one event and the users of one partition whom it notifies, or some of
// them: many users are split into several messages.
type LogNotification struct {
	About

	RoomID RoomID
	// Again reports that the event may have been stored before, in a message with a
	// sequence above Since: a reader leaves out users whom it had then.
	Again bool
	Since uint64
	// Body is the part of the notification object (Push Gateway API) that all users
	// share: an object without prio and counts.
	Body      []byte
	Decisions []Decision
	Users     []LogUser
}

// Decision is how an event notifies some of its users.
type Decision struct {
	// RuleID, Highlight, Tweaks, Silent and Devices are as in [Notification].
	RuleID    string
	Highlight bool
	Tweaks    []byte
	Silent    bool
	Devices   map[string]DeviceOutcome
	Prio      string // "high" or "low" (Push Gateway API)
	// Target is the value of user_is_target of a member event, or nil.
	Target *bool
	// RoomName is what the room is called for these users, if it has no name of its own.
	RoomName string
}

// LogUser is a user whom an event notifies.
type LogUser struct {
	UserID   UserID
	Decision int // index
	// PushersRevision is the revision in PUSHERS of the user's pushers on which match
	// based the decision, or 0. Deliver learns of changes separately and perhaps later,
	// so it waits until it has seen this revision.
	PushersRevision uint64
}

// AppendJSON appends the message as it is stored.
func (n *LogNotification) AppendJSON(dst []byte) []byte {
	dst = append(dst, `{"kind":"notify","room_id":`...)
	dst = append(appendString(dst, string(n.RoomID)), ',')
	dst = n.appendMembers(dst)
	if n.Again {
		dst = append(dst, `,"again_since":`...)
		dst = strconv.AppendUint(dst, n.Since, 10)
	}
	if n.Only != "" {
		dst = append(dst, `,"only":`...)
		dst = appendString(dst, string(n.Only))
	}
	dst = append(dst, `,"decisions":[`...)
	for i := range n.Decisions {
		dst = n.Decisions[i].appendJSON(appendComma(dst, i))
	}
	dst = append(dst, `],"users":[`...)
	for i := range n.Users {
		dst = n.Users[i].appendJSON(appendComma(dst, i))
	}
	dst = append(dst, `],"notification":`...)
	dst = append(dst, n.Body...)
	return append(dst, '}')
}

func appendComma(dst []byte, i int) []byte {
	if i > 0 {
		return append(dst, ',')
	}
	return dst
}

func (d *Decision) appendJSON(dst []byte) []byte {
	dst = append(dst, `{"rule_id":`...)
	dst = appendString(dst, d.RuleID)
	dst = append(dst, `,"prio":`...)
	dst = appendString(dst, d.Prio)
	if d.Highlight {
		dst = append(dst, `,"highlight":true`...)
	}
	if d.Silent {
		dst = append(dst, `,"silent":true`...)
	}
	if d.Target != nil {
		dst = strconv.AppendBool(append(dst, `,"user_is_target":`...), *d.Target)
	}
	if d.RoomName != "" {
		dst = appendString(append(dst, `,"room_name":`...), d.RoomName)
	}
	if len(d.Devices) > 0 {
		dst = appendDevices(append(dst, `,"devices":`...), d.Devices)
	}
	dst = append(append(dst, `,"tweaks":`...), d.Tweaks...)
	return append(dst, '}')
}

func (u *LogUser) appendJSON(dst []byte) []byte {
	dst = appendString(append(dst, `{"user_id":`...), string(u.UserID))
	if u.Decision != 0 {
		dst = strconv.AppendInt(append(dst, `,"decision":`...), int64(u.Decision), 10)
	}
	if u.PushersRevision != 0 {
		dst = strconv.AppendUint(append(dst, `,"pushers_revision":`...), u.PushersRevision, 10)
	}
	return append(dst, '}')
}

// For returns the notification of the users with a decision. It shares memory with n.
func (n *LogNotification) For(decision int) Notification {
	d := &n.Decisions[decision]
	return Notification{
		About: n.About, RuleID: d.RuleID, Highlight: d.Highlight, Tweaks: d.Tweaks, Silent: d.Silent, Devices: d.Devices, Body: n.bodyOf(d),
	}
}

// bodyOf returns the notification object for a decision.
func (n *LogNotification) bodyOf(d *Decision) []byte {
	body := append(make([]byte, 0, len(n.Body)+len(d.RoomName)+64), '{')
	if d.Prio != "" {
		body = append(appendString(append(body, `"prio":`...), d.Prio), ',')
	}
	if d.Target != nil {
		body = append(strconv.AppendBool(append(body, `"user_is_target":`...), *d.Target), ',')
	}
	if d.RoomName != "" {
		body = append(appendString(append(body, `"room_name":`...), d.RoomName), ',')
	}
	if n.Body[1] == '}' { // it shares nothing
		return append(bytes.TrimSuffix(body, []byte(",")), '}')
	}
	return append(body, n.Body[1:]...)
}

// ParseLog parses a message of NOTIFICATIONS. What it returns shares memory with raw.
// Errors wrap [ErrBadNotification].
func ParseLog(raw []byte) (LogMessage, error) {
	if !gjson.ValidBytes(raw) {
		return LogMessage{}, fmt.Errorf("%w: not JSON", ErrBadNotification)
	}
	parsed := gjson.ParseBytes(raw)
	m := LogMessage{Kind: LogKind(parsed.Get("kind").Str)}
	var err error
	switch m.Kind {
	case LogNotify:
		m.Notify, err = parseLogNotification(raw, parsed)
	case LogRead:
		m.Read, err = parseRead(parsed)
	case LogRedacted:
		m.Redacted, err = parseRedaction(raw)
	case LogMarked:
		m.Marked, err = parseMarked(raw)
	default:
		err = fmt.Errorf("%w: unknown kind", ErrBadNotification)
	}
	return m, err
}

func parseLogNotification(raw []byte, parsed gjson.Result) (*LogNotification, error) {
	// Most events notify one user of a partition.
	var room struct {
		LogNotification

		decision [1]Decision
		user     [1]LogUser
	}
	n := &room.LogNotification
	n.Decisions, n.Users = room.decision[:0], room.user[:0]
	part := func(value gjson.Result) []byte { return raw[value.Index : value.Index+len(value.Raw)] }
	well := true
	parsed.ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "decisions":
			value.ForEach(func(_, one gjson.Result) bool {
				d, ok := parseDecision(one, part)
				n.Decisions, well = append(n.Decisions, d), well && ok
				return true
			})
		case "users":
			value.ForEach(func(_, one gjson.Result) bool {
				n.Users = append(n.Users, parseLogUser(one))
				return true
			})
		case "notification":
			n.Body = part(value)
		default:
			n.setField(key.Str, value)
		}
		return true
	})
	if !well || !n.isWhole() {
		return nil, fmt.Errorf("%w: a field is missing", ErrBadNotification)
	}
	return n, nil
}

func (n *LogNotification) isWhole() bool {
	for _, u := range n.Users {
		if !IsID(u.UserID) || u.Decision < 0 || u.Decision >= len(n.Decisions) {
			return false
		}
	}
	return IsID(n.RoomID) && n.EventID != "" && n.RoomSeq != 0 && len(n.Users) > 0 && IsObject(n.Body)
}

// setField parses one of the small fields.
func (n *LogNotification) setField(key string, value gjson.Result) {
	switch key {
	case "room_id":
		n.RoomID = RoomID(value.Str)
	case "again_since":
		n.Again, n.Since = true, value.Uint()
	default:
		n.setMember(key, value)
	}
}

func parseDecision(value gjson.Result, part func(gjson.Result) []byte) (d Decision, ok bool) {
	ok = true
	value.ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "rule_id":
			d.RuleID = value.Str
		case "prio":
			d.Prio = value.Str
		case "highlight":
			d.Highlight = value.Bool()
		case "silent":
			d.Silent = value.Bool()
		case "user_is_target":
			d.Target = new(value.Bool())
		case "room_name":
			d.RoomName = value.Str
		case "tweaks":
			d.Tweaks = part(value)
		case "devices":
			d.Devices, ok = parseDevices(value.Raw)
		}
		return true
	})
	return d, ok && IsObject(d.Tweaks)
}

func parseLogUser(value gjson.Result) (u LogUser) {
	value.ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "user_id":
			u.UserID = UserID(value.Str)
		case "decision":
			u.Decision = int(value.Int())
		case "pushers_revision":
			u.PushersRevision = value.Uint()
		}
		return true
	})
	return u
}

// Redaction records that an event was redacted that had notified some users of a
// partition. The message that notified them is to be deleted.
type Redaction struct {
	RoomID  RoomID   `json:"room_id"`
	RoomSeq uint64   `json:"room_seq"` // of the redacted event, in ROOMS
	Seq     uint64   `json:"seq"`      // of the message that notified them, in NOTIFICATIONS
	Users   []UserID `json:"users"`
}

// AppendJSON appends the message as it is stored.
func (r Redaction) AppendJSON(dst []byte) []byte { return appendKind(dst, LogRedacted, r) }

func parseRedaction(raw []byte) (r Redaction, err error) {
	if err := json.Unmarshal(raw, &r); err != nil || !IsID(r.RoomID) || r.RoomSeq == 0 || r.Seq == 0 || len(r.Users) == 0 {
		return Redaction{}, fmt.Errorf("%w: not a redaction", ErrBadNotification)
	}
	return r, nil
}

// Marked records that a user marked a room as unread, or took that back. A later [Read] of the
// room takes it back as well: see [Read.TakesBack].
type Marked struct {
	UserID UserID `json:"user_id"`
	RoomID RoomID `json:"room_id"`
	Unread bool   `json:"unread,omitempty"`
	By     uint64 `json:"by"` // sequence in ROOMS of the message that said so
}

// AppendJSON appends the message as it is stored.
func (m Marked) AppendJSON(dst []byte) []byte { return appendKind(dst, LogMarked, m) }

func parseMarked(raw []byte) (m Marked, err error) {
	if err := json.Unmarshal(raw, &m); err != nil || !IsID(m.UserID) || !IsID(m.RoomID) || m.By == 0 {
		return Marked{}, fmt.Errorf("%w: not a mark", ErrBadNotification)
	}
	return m, nil
}

// appendKind appends a message with its kind.
func appendKind(dst []byte, kind LogKind, value any) []byte {
	raw, err := json.Marshal(value)
	if err != nil { // cannot happen for numbers and strings
		return dst
	}
	dst = appendString(append(dst, `{"kind":`...), string(kind))
	return append(append(dst, ','), raw[1:]...)
}
