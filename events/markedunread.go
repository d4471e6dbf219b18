package events

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tidwall/gjson"
)

// TypeMarkedUnread is the type of the room account data by which a user marks a room as
// unread (Matrix specification, "Unread markers").
const TypeMarkedUnread = "m.marked_unread"

// Mark is that a user marked a room as unread, or took that back.
type Mark struct {
	User   UserID
	Unread bool
}

// IsMarks reports whether a message on [ReceiptSubject] holds marks instead of receipts.
func IsMarks(raw []byte) bool { return gjson.GetBytes(raw, "type").Str == TypeMarkedUnread }

// ParseMarks parses who marked a room as unread,
// {"type":"m.marked_unread","room_id":…,"content":{user_id:{"unread":true}}}, and returns
// the marks in the order of their users. Content without a boolean "unread" takes the mark
// back, as clients read it. Errors wrap [ErrBadEvent].
func ParseMarks(raw []byte) (RoomID, []Mark, error) {
	room, content, err := parseEDU(raw, TypeMarkedUnread, "user")
	if err != nil {
		return "", nil, err
	}
	var marks []Mark
	content.ForEach(func(user, data gjson.Result) bool {
		if !IsID(user.Str) || !data.IsObject() {
			err = fmt.Errorf("%w: a user has no object, or no id", ErrBadEvent)
			return false
		}
		marks = append(marks, Mark{UserID(user.Str), data.Get("unread").Type == gjson.True})
		return true
	})
	if err != nil {
		return "", nil, err
	}
	slices.SortFunc(marks, func(a, b Mark) int { return strings.Compare(string(a.User), string(b.User)) })
	return room, marks, nil
}

// ParsePublishedMarks parses marks as [ParseMarks] does, and checks that they were published
// on the subject of their room, or are stored in ROOMS under that.
func ParsePublishedMarks(subject string, raw []byte) (RoomID, []Mark, error) {
	room, marks, err := ParseMarks(raw)
	if err == nil && !isOfReceipts(subject, room) {
		return "", nil, otherRoom(subject, room)
	}
	return room, marks, err
}
