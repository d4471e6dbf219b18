package events

import (
	"errors"
	"fmt"

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
// for a state event, the string state_key; errors wrap [ErrBadEvent] and never
// repeat content.
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
// the event as many times.
func readRoomEvent(doc gjson.Result, raw []byte) (RoomEvent, error) {
	ev := RoomEvent{Raw: raw}
	var err error
	text := func(key string, value gjson.Result) string {
		if value.Type != gjson.String {
			err = fmt.Errorf("%w: %s is not a string", ErrBadEvent, key)
		} else if len(value.Str) > MaxIDBytes {
			err = fmt.Errorf("%w: %s has %d bytes, the limit is %d", ErrBadEvent, key, len(value.Str), MaxIDBytes)
		}
		return value.Str
	}
	doc.ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "event_id":
			ev.EventID = EventID(text(key.Str, value))
		case "room_id":
			ev.RoomID = RoomID(text(key.Str, value))
		case "type":
			ev.Type = text(key.Str, value)
		case "sender":
			ev.Sender = UserID(text(key.Str, value))
		case "state_key":
			ev.IsState, ev.StateKey = true, text(key.Str, value)
		case "origin_server_ts":
			ev.OriginServerTS = value.Int()
		case "content":
			if !value.IsObject() {
				err = fmt.Errorf("%w: content is not an object", ErrBadEvent)
			}
			ev.Content = raw[value.Index : value.Index+len(value.Raw)]
		}
		return err == nil
	})
	if err != nil {
		return RoomEvent{}, err
	}
	return ev, ev.check()
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
