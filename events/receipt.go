package events

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/tidwall/gjson"
)

// Receipt records that a user has read up to an event (Matrix specification, section
// "Receipts": m.read or m.read.private).
type Receipt struct {
	User   UserID
	Event  EventID
	Whole  bool    // it has no thread_id and applies to all threads
	Thread EventID // if not Whole: the thread's root, or "" for the main timeline
	// Cleared reports that the client has nothing left to show of the room ("cleared_notifs",
	// MSC4234).
	Cleared bool
}

// ParseReceipts parses an m.receipt EDU of one room,
// {"type":"m.receipt","room_id":…,"content":{event_id:{"m.read":{user_id:{…}}}}}, and
// returns its m.read and m.read.private receipts in a fixed order. Other kinds of
// receipts are ignored. Each receipt is parsed separately: with an error, which wraps
// [ErrBadEvent] and names the first mistake, the valid ones are returned all the same.
// Without a room there are none.
func ParseReceipts(raw []byte) (RoomID, []Receipt, error) {
	room, content, err := parseEDU(raw, "m.receipt", "event")
	if err != nil {
		return "", nil, err
	}
	var r receiptReader
	content.ForEach(func(event, kinds gjson.Result) bool {
		r.readEvent(EventID(event.Str), kinds)
		return true
	})
	slices.SortFunc(r.receipts, func(a, b Receipt) int {
		return cmp.Or(cmp.Compare(a.User, b.User), cmp.Compare(a.Event, b.Event), cmp.Compare(a.Thread, b.Thread))
	})
	return room, slices.Compact(r.receipts), r.err()
}

// ParsePublishedReceipts parses an m.receipt EDU as [ParseReceipts] does, and checks that
// it was published on the subject of its room, or is stored in ROOMS under that.
func ParsePublishedReceipts(subject string, raw []byte) (RoomID, []Receipt, error) {
	room, receipts, err := ParseReceipts(raw)
	if room != "" && !isOfReceipts(subject, room) {
		return "", nil, otherRoom(subject, room)
	}
	return room, receipts, err
}

// isOfReceipts reports whether [ReceiptSubject] is the subject on which a message was published,
// or under which ROOMS stores it.
func isOfReceipts(subject string, room RoomID) bool {
	token, rest := SplitRoom(subject)
	return IsReceipt(rest) && isToken(token, room)
}

func otherRoom(subject string, room RoomID) error {
	return fmt.Errorf("%w: its subject names another room: published on %s, expected on %s", ErrBadEvent, PublishedAs(subject), ReceiptSubject(room))
}

// ReceiptSubject returns the subject on which a homeserver publishes a room's receipts, and
// who marked the room as unread: their order counts.
func ReceiptSubject(room RoomID) string { return "room." + Token(room) + "." + receiptRest }

const receiptRest = "receipt"

// IsReceipt reports whether rest, what follows room.<room>. in a subject, is that of receipts and
// marks.
func IsReceipt(rest string) bool { return rest == receiptRest }

// parseTyped parses an object with a type.
func parseTyped(raw []byte, kind string) (doc gjson.Result, err error) {
	if len(raw) > MaxEventBytes {
		return doc, fmt.Errorf("%w: %d bytes, the limit is %d", ErrBadEvent, len(raw), MaxEventBytes)
	}
	if !gjson.ValidBytes(raw) {
		return doc, fmt.Errorf("%w: not JSON", ErrBadEvent)
	}
	doc = gjson.ParseBytes(raw)
	switch {
	case !doc.IsObject():
		return doc, fmt.Errorf("%w: not a JSON object", ErrBadEvent)
	case doc.Get("type").Str != kind:
		return doc, fmt.Errorf("%w: type is not %s", ErrBadEvent, kind)
	}
	return doc, nil
}

// parseEDU parses an EDU of one room with a type, whose content is an object of one kind of
// thing.
func parseEDU(raw []byte, kind, of string) (room RoomID, content gjson.Result, err error) {
	edu, err := parseTyped(raw, kind)
	if err != nil {
		return "", content, err
	}
	content = edu.Get("content")
	id := edu.Get("room_id")
	empty := true
	content.ForEach(func(_, _ gjson.Result) bool { empty = false; return false })
	switch {
	case id.Type != gjson.String || !IsID(id.Str):
		return "", content, fmt.Errorf("%w: room_id must have 1 to %d bytes", ErrBadEvent, MaxIDBytes)
	case !content.IsObject():
		return "", content, fmt.Errorf("%w: content is not an object", ErrBadEvent)
	case empty:
		return "", content, fmt.Errorf("%w: content names no %s", ErrBadEvent, of)
	}
	return RoomID(id.Str), content, nil
}

// receiptReader parses the content of an m.receipt EDU.
type receiptReader struct {
	receipts []Receipt
	bad      int    // parts that cannot be read
	mistake  string // the first of them
}

func (r *receiptReader) readEvent(event EventID, kinds gjson.Result) {
	if !kinds.IsObject() || !IsID(event) {
		r.skip("an event has no object of receipts, or no event id")
		return
	}
	kinds.ForEach(func(kind, users gjson.Result) bool {
		switch {
		case kind.Str != "m.read" && kind.Str != "m.read.private":
		case !users.IsObject():
			r.skip(kind.Str + " has no object of users")
		default:
			users.ForEach(func(user, data gjson.Result) bool {
				r.readUser(event, UserID(user.Str), data)
				return true
			})
		}
		return true
	})
}

// threadMain is the thread_id of the main timeline.
const threadMain = "main"

func (r *receiptReader) readUser(event EventID, user UserID, data gjson.Result) {
	thread := data.Get("thread_id")
	receipt := Receipt{User: user, Event: event, Cleared: ClearsNotifs(data)}
	switch {
	case !data.IsObject():
		r.skip("a receipt is no object")
		return
	case !IsID(user):
		r.skip("a receipt has no user id")
		return
	case thread.Type == gjson.Null:
		receipt.Whole = true
	case thread.Type != gjson.String || !IsID(thread.Str):
		r.skip("a thread_id is none")
		return
	case thread.Str != threadMain:
		receipt.Thread = EventID(thread.Str)
	}
	r.receipts = append(r.receipts, receipt)
}

// ClearedNotifs is the field of a receipt by which a client tells that the user has read all that
// it has shown of the room (MSC4234).
const ClearedNotifs = "cleared_notifs"

// ClearsNotifs reports whether an object of a receipt has the field [ClearedNotifs], also under its
// unstable name.
func ClearsNotifs(data gjson.Result) (clears bool) {
	data.ForEach(func(key, value gjson.Result) bool {
		clears = value.Type == gjson.True && (key.Str == ClearedNotifs || key.Str == "org.matrix.msc4234."+ClearedNotifs)
		return !clears
	})
	return clears
}

func (r *receiptReader) skip(mistake string) {
	if r.bad++; r.bad == 1 {
		r.mistake = mistake
	}
}

func (r *receiptReader) err() error {
	if r.bad == 0 {
		return nil
	}
	return fmt.Errorf("%w: %d of its receipts cannot be read, the first: %s", ErrBadEvent, r.bad, r.mistake)
}
