package events

import (
	"encoding/json"
	"fmt"
)

// Read records that a user has read a room, or one thread of it, up to an event.
// NOTIFICATIONS keeps the newest one for each user, room and thread, on
// read.<part>.<user>.<room>.<thread>.
type Read struct {
	UpTo   uint64  `json:"up_to"`            // sequence in ROOMS; this event and everything before it is read
	Whole  bool    `json:"whole,omitempty"`  // all threads are read
	Thread EventID `json:"thread,omitempty"` // if not Whole: the thread's root, or "" for the main timeline
}

// Covers reports whether the user has read the event of a thread at this sequence of
// ROOMS.
func (r Read) Covers(roomSeq uint64, thread EventID) bool {
	return roomSeq <= r.UpTo && (r.Whole || r.Thread == thread)
}

// ParseRead parses a [Read] as NOTIFICATIONS stores it. Errors wrap [ErrBadNotification].
func ParseRead(raw []byte) (Read, error) {
	var r Read
	if err := json.Unmarshal(raw, &r); err != nil || r.UpTo == 0 {
		return Read{}, fmt.Errorf("%w: not a read marker", ErrBadNotification)
	}
	return r, nil
}

// Redaction records that the event of a notification was redacted.
type Redaction struct {
	Seq uint64 `json:"seq"` // of the notification, in NOTIFICATIONS
}

// ParseRedaction parses a [Redaction] as NOTIFICATIONS stores it. Errors wrap
// [ErrBadNotification].
func ParseRedaction(raw []byte) (Redaction, error) {
	var r Redaction
	if err := json.Unmarshal(raw, &r); err != nil || r.Seq == 0 {
		return Redaction{}, fmt.Errorf("%w: not a redaction", ErrBadNotification)
	}
	return r, nil
}
