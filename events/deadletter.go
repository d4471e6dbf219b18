package events

import (
	"strings"
	"time"
)

// DeadLetter is something that poked has given up: a poke that was not delivered, or a
// message that cannot be read. It holds enough to retry it by hand.
type DeadLetter struct {
	Reason    DeadReason `json:"reason"`
	Detail    string     `json:"detail,omitempty"`
	At        time.Time  `json:"at"`
	UserID    UserID     `json:"user_id,omitempty"`
	RoomID    RoomID     `json:"room_id,omitempty"`
	EventID   EventID    `json:"event_id,omitempty"`
	AppID     string     `json:"app_id,omitempty"`
	Pushkey   string     `json:"pushkey,omitempty"`
	Attempts  int        `json:"attempts,omitempty"`
	LastError string     `json:"last_error,omitempty"`
	Subject   string     `json:"subject,omitempty"` // the message was published on it
	// Historical reports that the message was a room event with the header
	// Poked-Historical.
	Historical bool `json:"historical,omitempty"`
	// Message is the message as it was received, base64 in JSON. For a poke it is the
	// notification ([Notification.AppendJSON]).
	Message []byte `json:"message,omitempty"`
}

// DeadReason is why a poke or message will not be tried again.
type DeadReason string

// The reasons of dead letters, as schema/dead_letter.json lists them.
const (
	DeadExpired         DeadReason = "expired"          // a poke older than its time to live
	DeadRefused         DeadReason = "refused"          // a poke that its gateway refused while it took others
	DeadSkipped         DeadReason = "skipped"          // a poke that an operator put aside
	DeadBadEvent        DeadReason = "bad_event"        // a room event that cannot be read
	DeadBadReceipt      DeadReason = "bad_receipt"      // receipts that cannot be read
	DeadBadNotification DeadReason = "bad_notification" // a message of NOTIFICATIONS that cannot be read
	DeadBadMessage      DeadReason = "bad_message"      // a message of another stream that cannot be read
	DeadBadValue        DeadReason = "bad_value"        // a value of a bucket that cannot be read
)

// DeadUnreadable is the reason of a dead letter that cannot be read itself. It is shown
// and never stored.
const DeadUnreadable DeadReason = "unreadable"

// DeadReasons returns the reasons that a stored dead letter may have.
func DeadReasons() []DeadReason {
	return []DeadReason{DeadExpired, DeadRefused, DeadSkipped, DeadBadEvent, DeadBadReceipt, DeadBadNotification, DeadBadMessage, DeadBadValue}
}

// IsPoke reports whether a dead letter with the reason is a poke, not a message that cannot
// be read.
func (r DeadReason) IsPoke() bool { return r == DeadExpired || r == DeadRefused || r == DeadSkipped }

// PusherID returns the id of the pusher that the letter is about, or "" if it is about
// none.
func (l *DeadLetter) PusherID() PusherID {
	if l.Pushkey == "" {
		return ""
	}
	return NewPusherID(l.UserID, l.AppID, l.Pushkey)
}

// Locate fills in the user and the room from the subject of an unreadable message.
func (l *DeadLetter) Locate() {
	tokens := strings.Split(PublishedAs(l.Subject), ".")
	userToken, roomToken := NoToken, NoToken
	switch {
	case tokens[0] == "room" && len(tokens) > 1:
		roomToken = tokens[1]
	case len(tokens) > 1 && (tokens[0] == "account" || tokens[0] == "rejected"):
		userToken = tokens[1]
	}
	if user, err := ParseToken[UserID](userToken); err == nil && l.UserID == "" {
		l.UserID = user
	}
	if room, err := ParseToken[RoomID](roomToken); err == nil && l.RoomID == "" {
		l.RoomID = room
	}
}

// PublishedAs returns the subject on which a message was published. The stream ROOMS
// stores room.<room>.… as rooms.<part>.<room>.…; all others store the subject as it is.
func PublishedAs(stored string) string {
	if rest, ok := strings.CutPrefix(stored, "rooms."); ok {
		if _, room, ok := strings.Cut(rest, "."); ok {
			return "room." + room
		}
	}
	return stored
}

// SplitRoom splits the subject on which a message of a room was published, room.<room>.<rest>,
// into the room's token and the rest. It may also be the subject under which ROOMS stores the
// message. Of any other subject both are "".
func SplitRoom(subject string) (room, rest string) {
	place, published := strings.CutPrefix(subject, "room.")
	if stored, ok := strings.CutPrefix(subject, "rooms."); ok {
		_, place, published = strings.Cut(stored, ".")
	}
	if !published {
		return "", ""
	}
	room, rest, _ = strings.Cut(place, ".")
	return room, rest
}
