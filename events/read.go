package events

import (
	"fmt"
	"strconv"

	"github.com/tidwall/gjson"
)

// Read records that a user has read a room, or one thread of it, up to an event.
type Read struct {
	UserID UserID  `json:"user_id"`
	RoomID RoomID  `json:"room_id"`
	UpTo   uint64  `json:"up_to,omitempty"`    // sequence in ROOMS; this event and everything before it is read
	Event  EventID `json:"event_id,omitempty"` // in place of UpTo: the event, of which ROOMS knows nothing
	Whole  bool    `json:"whole,omitempty"`    // all threads are read
	Thread EventID `json:"thread,omitempty"`   // if not Whole: the thread's root, or "" for the main timeline
	By     uint64  `json:"by,omitempty"`       // sequence in ROOMS of the receipt, or of the event by which the user has read
	// Cleared reports that a client has nothing left to show of the room (MSC4234).
	Cleared bool `json:"cleared,omitempty"`
}

// Covers reports whether the user has read the event of a thread at this sequence of
// ROOMS.
func (r Read) Covers(roomSeq uint64, thread EventID) bool {
	return roomSeq <= r.UpTo && (r.Whole || r.Thread == thread)
}

// TakesBack reports whether a room that was marked as unread, by a message at a sequence of ROOMS,
// no longer is: what was read by a later one, other than in one of its threads, has opened it.
func (r Read) TakesBack(markedBy uint64) bool { return (r.Whole || r.Thread == "") && r.By > markedBy }

// AppendJSON appends the message as it is stored.
func (r Read) AppendJSON(dst []byte) []byte {
	dst = appendString(append(dst, `{"kind":"read","user_id":`...), string(r.UserID))
	dst = appendString(append(dst, `,"room_id":`...), string(r.RoomID))
	if r.UpTo != 0 {
		dst = strconv.AppendUint(append(dst, `,"up_to":`...), r.UpTo, 10)
	}
	if r.Event != "" {
		dst = appendString(append(dst, `,"event_id":`...), string(r.Event))
	}
	if r.Whole {
		dst = append(dst, `,"whole":true`...)
	}
	if r.Thread != "" {
		dst = appendString(append(dst, `,"thread":`...), string(r.Thread))
	}
	if r.By != 0 {
		dst = strconv.AppendUint(append(dst, `,"by":`...), r.By, 10)
	}
	if r.Cleared {
		dst = append(dst, `,"cleared":true`...)
	}
	return append(dst, '}')
}

func parseRead(parsed gjson.Result) (r Read, err error) {
	parsed.ForEach(func(key, value gjson.Result) bool {
		r.setField(key.Str, value)
		return true
	})
	if !IsID(r.UserID) || !IsID(r.RoomID) || (r.UpTo == 0) == (r.Event == "") {
		return Read{}, fmt.Errorf("%w: not a read marker", ErrBadNotification)
	}
	return r, nil
}

func (r *Read) setField(key string, value gjson.Result) {
	switch key {
	case "user_id":
		r.UserID = UserID(value.Str)
	case "room_id":
		r.RoomID = RoomID(value.Str)
	case "up_to":
		r.UpTo = value.Uint()
	case "event_id":
		r.Event = EventID(value.Str)
	case "whole":
		r.Whole = value.Bool()
	case "thread":
		r.Thread = EventID(value.Str)
	case "by":
		r.By = value.Uint()
	case "cleared":
		r.Cleared = value.Bool()
	}
}
