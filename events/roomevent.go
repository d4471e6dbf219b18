package events

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/tidwall/gjson"
)

// MaxEventBytes is the size limit of a room event as it is published. Matrix allows 65
// 536 bytes in the federation format; the client-server format may add unsigned data such
// as the state of an invite.
const MaxEventBytes = 256 << 10

// ErrBadEvent is wrapped by errors about a room event, receipt or account change that can
// never be used, however often it is sent.
var ErrBadEvent = errors.New("bad event")

// RoomEvent is a Matrix event in a room in the client-server format ("ClientEvent" in the
// specification): the fields that poked reads, and the bytes as received.
type RoomEvent struct {
	EventID  EventID
	RoomID   RoomID
	Type     string
	Sender   UserID
	StateKey string // meaningful only if IsState
	IsState  bool
	Content  []byte // JSON object; a part of Raw
	// OriginServerTS is when the event was sent, as its homeserver claims, in
	// milliseconds since the Unix epoch; 0 if it is missing.
	OriginServerTS int64
	// Unsigned is what the homeserver added to the event; nil if it added nothing. It is a
	// part of Raw that no check applies to: it may be any JSON value.
	Unsigned []byte
	Raw      []byte // the whole event, as received

	text string // Raw, of which the strings above are parts; "" if the event was not parsed
}

// Text returns Raw as a string. It is the one of which the event's strings are parts: whoever
// keeps one of these for long keeps the whole event, or clones it.
func (e *RoomEvent) Text() string {
	if e.text == "" {
		return string(e.Raw)
	}
	return e.text
}

// ParseRoomEvent parses a room event; the result refers to raw. The event must be a JSON
// object with the strings event_id, room_id, type and sender, the object content and, if
// it is a state event, the string state_key. None of them may occur twice or contain NUL,
// and everything but "unsigned", which is never passed on, must pass [CheckJSON]. Errors
// wrap [ErrBadEvent] and never quote content. With an error the event still has the
// fields that could be read, if they show which state it would set.
func ParseRoomEvent(raw []byte) (RoomEvent, error) {
	if len(raw) > MaxEventBytes {
		return RoomEvent{}, fmt.Errorf("%w: %d bytes, the limit is %d", ErrBadEvent, len(raw), MaxEventBytes)
	}
	if !gjson.ValidBytes(raw) {
		return RoomEvent{}, fmt.Errorf("%w: not JSON", ErrBadEvent)
	}
	doc := gjson.ParseBytes(raw)
	if !doc.IsObject() {
		return RoomEvent{}, fmt.Errorf("%w: not a JSON object", ErrBadEvent)
	}
	return readRoomEvent(doc, raw)
}

// readRoomEvent walks the top level once, since a lookup for each field would scan the
// event as many times. It goes on after a mistake, so that the event shows which state it
// would set.
func readRoomEvent(doc gjson.Result, raw []byte) (RoomEvent, error) {
	r := eventReader{event: RoomEvent{Raw: raw, text: doc.Raw}}
	doc.ForEach(func(key, value gjson.Result) bool {
		r.read(key.Str, value)
		return true
	})
	if r.err == nil {
		r.err = r.event.check()
	}
	if r.astray {
		return RoomEvent{}, r.err
	}
	return r.event, r.err
}

// eventReader reads the members of a room event one by one.
type eventReader struct {
	event  RoomEvent
	seen   uint8 // one bit for each field that was read
	err    error // the first mistake
	astray bool  // it is unclear which room or state the event belongs to
}

func (r *eventReader) read(key string, value gjson.Result) {
	ev := &r.event
	raw := ev.Raw[value.Index : value.Index+len(value.Raw)]
	switch key {
	case "event_id":
		ev.EventID = EventID(r.text(1, key, value, raw))
	case "room_id":
		ev.RoomID = RoomID(r.text(2, key, value, raw))
	case "type":
		ev.Type = r.text(4, key, value, raw)
	case "sender":
		ev.Sender = UserID(r.text(8, key, value, raw))
	case "state_key":
		ev.IsState, ev.StateKey = true, r.text(16, key, value, raw)
	case "origin_server_ts":
		ev.OriginServerTS = value.Int()
	case "content":
		r.once(32, key)
		r.want(value.IsObject(), "content is not an object")
		r.want(!HasTwice(value), "content has a key that occurs twice")
		r.checkJSON(key, raw)
		ev.Content = raw
	case "unsigned": // may contain anything
		ev.Unsigned = raw
	default:
		r.checkJSON("a member that is none of poked's", raw)
	}
}

// want records a mistake unless ok is true.
func (r *eventReader) want(ok bool, mistake string) {
	if !ok && r.err == nil {
		r.err = fmt.Errorf("%w: %s", ErrBadEvent, mistake)
	}
}

// once refuses a field that occurs twice: a later reader of the event may use the other
// one.
func (r *eventReader) once(field uint8, key string) {
	if r.seen&field != 0 {
		r.want(false, key+" occurs twice")
		r.astray = true
	}
	r.seen |= field
}

func (r *eventReader) checkJSON(what string, raw []byte) bool {
	err := CheckJSON(raw)
	if err != nil {
		r.want(false, what+" "+err.Error())
	}
	return err == nil
}

// text reads a field that must be a short string, of which raw is the JSON. It returns "" if it
// is not.
func (r *eventReader) text(field uint8, key string, value gjson.Result, raw []byte) string {
	r.once(field, key)
	switch {
	case value.Type != gjson.String:
		r.want(false, key+" is not a string")
	case len(value.Str) > MaxIDBytes:
		r.want(false, fmt.Sprintf("%s has %d bytes, the limit is %d", key, len(value.Str), MaxIDBytes))
	case strings.ContainsRune(value.Str, 0):
		r.want(false, key+" has a NUL")
	case r.checkJSON(key, raw):
		return value.Str
	}
	r.astray = true
	return ""
}

func (e *RoomEvent) check() error {
	for _, field := range []struct {
		name    string
		missing bool
	}{
		{"event_id", e.EventID == ""},
		{"room_id", e.RoomID == ""},
		{"type", e.Type == ""},
		{"sender", e.Sender == ""},
		{"content", e.Content == nil},
	} {
		if field.missing {
			return fmt.Errorf("%w: %s is missing", ErrBadEvent, field.name)
		}
	}
	return nil
}

// Subject returns the subject on which a homeserver publishes the event:
// room.<room>.state.<type>.<state key> or room.<room>.event.
func (e *RoomEvent) Subject() string {
	if !e.IsState {
		return e.SupersededSubject()
	}
	subject := appendToken(append(make([]byte, 0, usualSubject), "room."...), e.RoomID)
	subject = appendToken(append(subject, ".state."...), e.Type)
	return string(appendToken(append(subject, '.'), e.StateKey))
}

// usualSubject is how many bytes most subjects have at most.
const usualSubject = 512

// IsOn reports whether [RoomEvent.Subject] is the subject on which a message was published, or
// under which ROOMS stores it.
func (e *RoomEvent) IsOn(subject string) bool {
	room, rest := SplitRoom(subject)
	if !e.IsState {
		return rest == eventRest && isToken(room, e.RoomID)
	}
	state, isState := strings.CutPrefix(rest, "state.")
	kind, key, _ := strings.Cut(state, ".")
	return isState && isToken(kind, e.Type) && isToken(key, e.StateKey) && isToken(room, e.RoomID)
}

// eventRest is what follows room.<room>. in the subject of events that are not state.
const eventRest = "event"

// Emptied returns the event that a state event which cannot be read counts as: the same
// with empty content, so that the state which it replaced no longer applies. ok is false
// if it is not a state event, or does not show which state it sets.
func (e *RoomEvent) Emptied() (empty RoomEvent, ok bool) {
	if !e.IsState || e.EventID == "" || e.RoomID == "" || e.Type == "" || e.Sender == "" {
		return RoomEvent{}, false
	}
	raw, err := json.Marshal(map[string]any{
		"event_id": e.EventID, "room_id": e.RoomID, "type": e.Type, "sender": e.Sender,
		"state_key": e.StateKey, "origin_server_ts": e.OriginServerTS, "content": struct{}{},
	})
	if err != nil {
		return RoomEvent{}, false
	}
	empty, err = ParseRoomEvent(raw)
	return empty, err == nil
}

// SupersededSubject returns the subject on which a homeserver publishes a state event that
// is not the room's current state, such as one that came late and lost against newer state
// (Matrix specification, "State resolution"): that of events which are not state.
func (e *RoomEvent) SupersededSubject() string {
	return string(append(appendToken(append(make([]byte, 0, usualSubject), "room."...), e.RoomID), "."+eventRest...))
}

// ParsePublished parses a room event as [ParseRoomEvent] does, and checks the subject on which
// it was published, or under which ROOMS stores it: on another one it would change another
// room, or replace other state.
func ParsePublished(subject string, raw []byte) (RoomEvent, error) {
	ev, err := ParseRoomEvent(raw)
	if err != nil || ev.IsOn(subject) {
		return ev, err
	}
	subject = PublishedAs(subject)
	return RoomEvent{}, fmt.Errorf("%w: %s: published on %s, expected on %s", ErrBadEvent, ev.misplaced(subject), subject, ev.Subject())
}

// ParseMarked is [ParsePublished] of an event that may be marked as superseded: state that is
// not the room's current state has the subject of other events.
func ParseMarked(subject string, raw []byte, superseded bool) (RoomEvent, error) {
	if room, rest := SplitRoom(subject); superseded && rest == eventRest {
		if ev, err := ParseRoomEvent(raw); err != nil || isToken(room, ev.RoomID) {
			return ev, err
		}
	}
	return ParsePublished(subject, raw)
}

// misplaced describes what is wrong with a subject that is not the event's own.
func (e *RoomEvent) misplaced(subject string) string {
	want, have := strings.Split(e.Subject(), "."), strings.Split(subject, ".")
	switch {
	case len(have) < 3 || have[0] != "room":
		return "its subject is none of a room event"
	case have[1] != want[1]:
		return "its subject names another room"
	case have[2] != want[2] && e.IsState:
		return "it has a state_key, its subject is none of a room event"
	case have[2] != want[2] && have[2] == "state":
		return "it has no state_key, its subject is one of state"
	case len(have) != len(want) || !e.IsState:
		return "its subject is none of a room event"
	case have[3] != want[3]:
		return "its subject names another type"
	}
	return "its subject names another state_key"
}

// StateOn returns the state event, with empty content, that an unreadable message on this
// subject counts as. ok is false if the subject is not one of state.
func StateOn(subject string) (empty RoomEvent, ok bool) {
	tokens := strings.Split(subject, ".")
	if len(tokens) != 5 || tokens[0] != "room" || tokens[2] != "state" {
		return RoomEvent{}, false
	}
	room, errRoom := ParseToken[RoomID](tokens[1])
	kind, errKind := ParseToken[string](tokens[3])
	key, errKey := ParseToken[string](tokens[4])
	if err := errors.Join(errRoom, errKind, errKey); err != nil {
		return RoomEvent{}, false
	}
	return RoomEvent{RoomID: room, Type: kind, IsState: true, StateKey: key, Content: []byte("{}")}, true
}

// IsRedacted reports whether the event was redacted before it was published: the homeserver
// added the redaction to it ("unsigned.redacted_because").
func (e *RoomEvent) IsRedacted() bool {
	return gjson.GetBytes(e.Unsigned, "redacted_because").IsObject()
}

// AgeAt returns how old the event was when it arrived from its homeserver, and false if
// neither the homeserver nor the sender tell. "unsigned.age" is what the homeserver counts,
// usually from when the sender's server handed the event over; so it holds even if that
// server's clock is wrong, and origin_server_ts is used only without it.
func (e *RoomEvent) AgeAt(arrival time.Time) (age time.Duration, known bool) {
	const longest = int64(math.MaxInt64 / time.Millisecond)
	if ms := gjson.GetBytes(e.Unsigned, "age"); ms.Type == gjson.Number {
		return time.Duration(min(max(ms.Int(), 0), longest)) * time.Millisecond, true
	}
	at := e.SentAt()
	return arrival.Sub(at), !at.IsZero()
}

// SentAt returns origin_server_ts as a time, or the zero time.
func (e *RoomEvent) SentAt() time.Time {
	if e.OriginServerTS > 0 {
		return time.UnixMilli(e.OriginServerTS)
	}
	return time.Time{}
}
