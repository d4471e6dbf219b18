package events

import (
	"encoding/json"
	"fmt"
)

// Read says that a user has read a room, or one thread of it, up to an event. Of
// each user, room and thread NOTIFICATIONS keeps the newest one, under
// read.<part>.<user>.<room>.<thread>.
type Read struct {
	UpTo   uint64  `json:"up_to"`            // sequence in ROOMS; what came before it is read too
	Whole  bool    `json:"whole,omitempty"`  // in all threads
	Thread EventID `json:"thread,omitempty"` // if not Whole: the thread's root, or "" for the main timeline
}

// Covers says whether the user has read the event at a sequence of ROOMS that
// belongs to a thread.
func (r Read) Covers(roomSeq uint64, thread EventID) bool {
	return roomSeq <= r.UpTo && (r.Whole || r.Thread == thread)
}

// ParseRead reads what [Batch.Read] wrote. Errors wrap [ErrBadNotification].
func ParseRead(raw []byte) (Read, error) {
	var r Read
	if err := json.Unmarshal(raw, &r); err != nil || r.UpTo == 0 {
		return Read{}, fmt.Errorf("%w: not a read marker", ErrBadNotification)
	}
	return r, nil
}

// Redaction says that the event of a notification was redacted.
type Redaction struct {
	Seq uint64 `json:"seq"` // the notification's, in NOTIFICATIONS
}

// ParseRedaction reads what [Batch.Redacted] wrote. Errors wrap
// [ErrBadNotification].
func ParseRedaction(raw []byte) (Redaction, error) {
	var r Redaction
	if err := json.Unmarshal(raw, &r); err != nil || r.Seq == 0 {
		return Redaction{}, fmt.Errorf("%w: not a redaction", ErrBadNotification)
	}
	return r, nil
}

// What may stand in place of a thread's root in a subject. Neither can be the
// encoding of an id, which has two characters at least.
const (
	WholeRoom = "-" // of a read: all threads
	Retried   = "+" // of a notification: a dead letter that is tried again
)
