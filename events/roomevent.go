package events

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tidwall/gjson"
)

// MaxEventBytes bounds a room event as it is published. Matrix allows 65 536
// bytes for the federation format; the client-server format may add unsigned
// data such as the state of an invite.
const MaxEventBytes = 256 << 10

// ErrBadEvent is wrapped by every error that says a room event, receipt or
// account change cannot be used whoever sends it again: the input is at fault.
var ErrBadEvent = errors.New("bad event")

// RoomEvent is a Matrix event in a room in the client-server format
// ("ClientEvent" in the specification), with the few fields that poked reads
// beside the bytes as they came.
type RoomEvent struct {
	EventID  EventID
	RoomID   RoomID
	Type     string
	Sender   UserID
	StateKey string // meaningful only if IsState
	IsState  bool
	Content  []byte // JSON object; a part of Raw
	// OriginServerTS is when its homeserver says that it was sent, in milliseconds
	// since the Unix epoch; 0 if that is missing.
	OriginServerTS int64
	Raw            []byte // the whole event, as received
}

// ParseRoomEvent reads a room event and keeps raw. It wants a JSON object with
// the strings event_id, room_id, type and sender and the object content, and,
// for a state event, the string state_key, none of them twice and without NUL.
// What stands beside "unsigned", which is never passed on, must be readable for
// every push gateway ([CheckJSON]). Errors wrap [ErrBadEvent] and never repeat
// content; with one the event has what could be read of it all the same, if that
// says where it stands.
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

// readRoomEvent walks the top level once: a lookup for each field would scan
// the event as many times. It reads to the end also after a mistake, so that the
// event says where it stands.
func readRoomEvent(doc gjson.Result, raw []byte) (RoomEvent, error) {
	r := eventReader{event: RoomEvent{Raw: raw}}
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
	seen   uint8 // fields of the event that came, a bit each
	err    error // the first mistake
	astray bool  // it is not clear where the event stands
}

func (r *eventReader) read(key string, value gjson.Result) {
	ev := &r.event
	raw := ev.Raw[value.Index : value.Index+len(value.Raw)]
	switch key {
	case "event_id":
		ev.EventID = EventID(r.text(1, key, value))
	case "room_id":
		ev.RoomID = RoomID(r.text(2, key, value))
	case "type":
		ev.Type = r.text(4, key, value)
	case "sender":
		ev.Sender = UserID(r.text(8, key, value))
	case "state_key":
		ev.IsState, ev.StateKey = true, r.text(16, key, value)
	case "origin_server_ts":
		ev.OriginServerTS = value.Int()
	case "content":
		r.once(32, key)
		r.want(value.IsObject(), "content is not an object")
		r.want(!HasTwice(value), "content has a key that stands twice")
		r.checkJSON(key, raw)
		ev.Content = raw
	case "unsigned": // may hold what others wrote, such as the content before a change
	default:
		r.checkJSON("a member that is none of poked's", raw)
	}
}

// want notes a mistake unless something is as it should be.
func (r *eventReader) want(ok bool, mistake string) {
	if !ok && r.err == nil {
		r.err = fmt.Errorf("%w: %s", ErrBadEvent, mistake)
	}
}

// once fails for a field that stands twice: who reads the event after us may take
// the other one.
func (r *eventReader) once(field uint8, key string) {
	r.want(r.seen&field == 0, key+" stands twice")
	r.astray = r.astray || r.seen&field != 0
	r.seen |= field
}

func (r *eventReader) checkJSON(what string, raw []byte) bool {
	err := CheckJSON(raw)
	if err != nil {
		r.want(false, what+" "+err.Error())
	}
	return err == nil
}

// text reads a field that must be a short string, and returns "" if it is none.
func (r *eventReader) text(field uint8, key string, value gjson.Result) string {
	r.once(field, key)
	switch {
	case value.Type != gjson.String:
		r.want(false, key+" is not a string")
	case len(value.Str) > MaxIDBytes:
		r.want(false, fmt.Sprintf("%s has %d bytes, the limit is %d", key, len(value.Str), MaxIDBytes))
	case strings.ContainsRune(value.Str, 0):
		r.want(false, key+" has a NUL")
	case r.checkJSON(key, []byte(value.Raw)):
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

// Subject returns where a homeserver publishes the event:
// room.<room>.state.<type>.<state key> or room.<room>.event.
func (e *RoomEvent) Subject() string {
	room := "room." + Token(e.RoomID)
	if e.IsState {
		return room + ".state." + Token(e.Type) + "." + Token(e.StateKey)
	}
	return room + ".event"
}

// Emptied returns a state event that cannot be read as what it counts as: the same
// with an empty content, so that what it took the place of stands no longer. ok is
// false if it is no state event, or does not say where it stands.
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

// ParsePublished reads a room event as [ParseRoomEvent] does, and checks that it was
// published where it belongs: on another subject it would change another room, or
// take the place of other state.
func ParsePublished(subject string, raw []byte) (RoomEvent, error) {
	ev, err := ParseRoomEvent(raw)
	if err != nil || ev.Subject() == subject {
		return ev, err
	}
	return RoomEvent{}, fmt.Errorf("%w: %s: published on %s, expected on %s", ErrBadEvent, ev.misplaced(subject), subject, ev.Subject())
}

// misplaced tells what is wrong with a subject that is not the event's.
func (e *RoomEvent) misplaced(subject string) string {
	want, have := strings.Split(e.Subject(), "."), strings.Split(subject, ".")
	switch {
	case len(have) < 3 || have[0] != "room":
		return "its subject is none of a room event"
	case have[1] != want[1]:
		return "its subject names another room"
	case have[2] != want[2] && e.IsState:
		return "it has a state_key, its subject is none of state"
	case have[2] != want[2] && have[2] == "state":
		return "it has no state_key, its subject is one of state"
	case len(have) != len(want) || !e.IsState:
		return "its subject is none of a room event"
	case have[3] != want[3]:
		return "its subject names another type"
	}
	return "its subject names another state_key"
}

// StateOn returns the state event without content that whatever cannot be read on a
// subject counts as. ok is false if the subject is none of state.
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

// SentAt returns when the event says that it was sent, which its sender's
// homeserver claims (origin_server_ts), or the zero time.
func (e *RoomEvent) SentAt() time.Time {
	if ms := gjson.GetBytes(e.Raw, "origin_server_ts").Int(); ms > 0 {
		return time.UnixMilli(ms)
	}
	return time.Time{}
}
