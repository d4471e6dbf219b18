package events

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
)

// Receipt says that a user has read up to an event (Matrix specification,
// "Receipts": m.read or m.read.private).
type Receipt struct {
	User   UserID
	Event  EventID
	Whole  bool    // it has no thread_id: it is of all threads
	Thread EventID // if not Whole: the thread's root, or "" for the main timeline
}

// ParseReceipts reads an m.receipt EDU of one room,
// {"type":"m.receipt","room_id":…,"content":{event_id:{"m.read":{user_id:{…}}}}},
// and returns the receipts that say what a user has read, in a fixed order. Other
// kinds of receipts are left out, and so are receipts that are none. Errors wrap
// [ErrBadEvent].
func ParseReceipts(raw []byte) (RoomID, []Receipt, error) {
	edu, err := parseReceipt(raw)
	if err != nil {
		return "", nil, err
	}
	var receipts []Receipt
	for event, kinds := range edu.Content {
		for _, kind := range []string{"m.read", "m.read.private"} {
			for user, body := range kinds[kind] {
				if r, ok := newReceipt(user, event, body); ok {
					receipts = append(receipts, r)
				}
			}
		}
	}
	slices.SortFunc(receipts, func(a, b Receipt) int {
		return cmp.Or(cmp.Compare(a.User, b.User), cmp.Compare(a.Event, b.Event), cmp.Compare(a.Thread, b.Thread))
	})
	return edu.RoomID, slices.Compact(receipts), nil
}

// threadMain is the thread_id of the main timeline.
const threadMain = "main"

func newReceipt(user UserID, event EventID, body json.RawMessage) (Receipt, bool) {
	var data struct {
		ThreadID *string `json:"thread_id"`
	}
	r := Receipt{User: user, Event: event}
	if err := json.Unmarshal(body, &data); err != nil || !isID(user) || !isID(event) {
		return r, false
	}
	switch {
	case data.ThreadID == nil:
		r.Whole = true
	case *data.ThreadID == threadMain:
	case !isID(*data.ThreadID):
		return r, false
	default:
		r.Thread = EventID(*data.ThreadID)
	}
	return r, true
}

func isID[T ~string](id T) bool { return id != "" && len(id) <= MaxIDBytes }

// receiptEDU is an m.receipt EDU: by event, kind of receipt and user.
type receiptEDU struct {
	Type    string                                            `json:"type"`
	RoomID  RoomID                                            `json:"room_id"`
	Content map[EventID]map[string]map[UserID]json.RawMessage `json:"content"`
}

// parseReceipt checks the shape of an m.receipt EDU.
func parseReceipt(raw []byte) (edu receiptEDU, err error) {
	if len(raw) > MaxEventBytes {
		return edu, fmt.Errorf("%w: %d bytes, the limit is %d", ErrBadEvent, len(raw), MaxEventBytes)
	}
	if err := json.Unmarshal(raw, &edu); err != nil {
		return edu, fmt.Errorf("%w: not an m.receipt EDU: {event_id: {receipt_type: {user_id: {…}}}} expected", ErrBadEvent)
	}
	switch {
	case edu.Type != "m.receipt":
		return edu, fmt.Errorf("%w: type is not m.receipt", ErrBadEvent)
	case !isID(edu.RoomID):
		return edu, fmt.Errorf("%w: room_id must have 1 to %d bytes", ErrBadEvent, MaxIDBytes)
	case len(edu.Content) == 0:
		return edu, fmt.Errorf("%w: content names no event", ErrBadEvent)
	}
	return edu, nil
}
