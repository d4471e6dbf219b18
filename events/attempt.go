package events

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// Attempt is what became of one try to deliver a poke. Attempts are for operators: the stream
// OUTCOMES keeps them for a day, and nothing depends on them. An attempt holds no pushkey and
// no content.
type Attempt struct {
	At      time.Time     // when the outcome was known, to the millisecond
	UserID  UserID        // whose pusher it is
	Pusher  PusherID      //
	AppID   string        //
	RoomID  RoomID        // "" for a poke that carries only a badge, as are the next two
	RoomSeq uint64        // of the room event, in ROOMS
	EventID EventID       //
	Outcome string        // name of a kind of outcome, such as "delivered"
	Class   string        // name of the reason, such as "timeout"; "ok" if there is none
	Status  int           // HTTP status, 0 if none came
	Attempt int           // 1 for the first
	Took    time.Duration // to the microsecond
	Ahead   bool          // it was a call, which goes before what waited for the pusher
}

// attemptJSON is an attempt as OUTCOMES stores it.
type attemptJSON struct {
	At      int64    `json:"at"` // Unix milliseconds
	UserID  UserID   `json:"user_id"`
	Pusher  PusherID `json:"pusher"`
	AppID   string   `json:"app_id"`
	RoomID  RoomID   `json:"room_id"`
	RoomSeq uint64   `json:"room_seq"`
	EventID EventID  `json:"event_id"`
	Outcome string   `json:"outcome"`
	Class   string   `json:"class"`
	Status  int      `json:"http_status"`
	Attempt int      `json:"attempt"`
	Took    int64    `json:"took_us"`
	Ahead   bool     `json:"ahead"`
}

// AppendJSON appends the attempt as OUTCOMES stores it: one line of JSON.
func (a *Attempt) AppendJSON(dst []byte) []byte {
	dst = strconv.AppendInt(append(dst, `{"at":`...), a.At.UnixMilli(), 10)
	dst = appendString(append(dst, `,"user_id":`...), string(a.UserID))
	dst = appendString(append(dst, `,"pusher":`...), string(a.Pusher))
	dst = appendString(append(dst, `,"app_id":`...), a.AppID)
	if a.EventID != "" {
		dst = appendString(append(dst, `,"room_id":`...), string(a.RoomID))
		dst = strconv.AppendUint(append(dst, `,"room_seq":`...), a.RoomSeq, 10)
		dst = appendString(append(dst, `,"event_id":`...), string(a.EventID))
	}
	dst = append(append(dst, `,"outcome":"`...), a.Outcome...)
	dst = append(append(dst, `","class":"`...), a.Class...)
	if dst = append(dst, '"'); a.Status != 0 {
		dst = strconv.AppendInt(append(dst, `,"http_status":`...), int64(a.Status), 10)
	}
	dst = strconv.AppendInt(append(dst, `,"attempt":`...), int64(a.Attempt), 10)
	dst = strconv.AppendInt(append(dst, `,"took_us":`...), a.Took.Microseconds(), 10)
	if a.Ahead {
		dst = append(dst, `,"ahead":true`...)
	}
	return append(dst, '}', '\n')
}

// ParseAttempts parses what [Attempt.AppendJSON] appended for any number of attempts.
func ParseAttempts(lines []byte) ([]Attempt, error) {
	var all []Attempt
	for line := range bytes.Lines(lines) {
		var a attemptJSON
		if err := json.Unmarshal(line, &a); err != nil {
			return all, fmt.Errorf("decode attempt: %w", err)
		}
		all = append(all, Attempt{
			At: time.UnixMilli(a.At), UserID: a.UserID, Pusher: a.Pusher, AppID: a.AppID,
			RoomID: a.RoomID, RoomSeq: a.RoomSeq, EventID: a.EventID,
			Outcome: a.Outcome, Class: a.Class, Status: a.Status, Attempt: a.Attempt, Took: time.Duration(a.Took) * time.Microsecond,
			Ahead: a.Ahead,
		})
	}
	return all, nil
}
