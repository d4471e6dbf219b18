package pushrule

import "github.com/tidwall/gjson"

// Room is what conditions ask about the room at the time of the event.
type Room struct {
	// MemberCount is the number of joined members.
	MemberCount int
	// SenderLevel is the power level of the event's sender.
	SenderLevel int64
	// SenderIsCreator reports whether the sender is a creator of a room of version 12 or later, whose power has no limit.
	SenderIsCreator bool
	// NotificationLevels are the power levels needed for kinds of notification, such as "room"; 50 if absent.
	NotificationLevels map[string]int64
}

// User is what conditions ask about the user who might be notified.
type User struct {
	ID string
	// DisplayName is the user's name in the room; only the historical contains_display_name asks for it.
	DisplayName string
	// Thread is the user's subscription to the thread the event is in (MSC4306).
	Thread ThreadSubscription
}

// ThreadSubscription is a user's subscription to the thread an event is in (MSC4306).
type ThreadSubscription uint8

// The zero value is also right for events outside threads: then conditions on subscriptions never hold.
const (
	ThreadUnknown ThreadSubscription = iota
	ThreadSubscribed
	ThreadUnsubscribed
)

// Event is an event in its room, ready to be evaluated for many users. It remembers what was found out about it, so
// one event must not be evaluated by two goroutines at a time.
type Event struct {
	root    node
	sender  string // "" if absent, as roomID
	roomID  string
	room    Room
	related map[string]*Event

	body    *body // content.body, nil if it is no string
	hasBody bool  // body is known

	holding slots  // memoised conditions that are known to hold
	failing slots  // and not to
	user    User   // whom Evaluate asks about
	scratch []byte // text of that user, folded
}

// NewEvent prepares an event in the client-server format for evaluation. The JSON must be valid: of other input it
// is only promised that nothing breaks. The event keeps a copy of raw, but room's map itself, which must not change
// while the event is in use.
func NewEvent(raw []byte, room Room) *Event {
	ev := &Event{root: newNode(gjson.ParseBytes(raw)), room: room}
	if sender := ev.textAt([]string{"sender"}); sender != nil {
		ev.sender = sender.text
	}
	if roomID := ev.textAt([]string{"room_id"}); roomID != nil {
		ev.roomID = roomID.text
	}
	return ev
}

// Relate sets the event that this one relates to by the relation relType, "m.in_reply_to" for replies (MSC3664).
func (ev *Event) Relate(relType string, to *Event) {
	if ev.related == nil {
		ev.related = make(map[string]*Event)
	}
	ev.related[relType] = to
}

// at returns the value at a path, or nil.
func (ev *Event) at(path []string) *node {
	n := &ev.root
	for _, name := range path {
		if n = n.member(name); n == nil {
			return nil
		}
	}
	return n
}

// textAt returns the value at a path if it is a string, else nil.
func (ev *Event) textAt(path []string) *node {
	if n := ev.at(path); n != nil && n.shape == shapeString {
		return n
	}
	return nil
}

// body is a message's text, folded, with its words.
type body struct {
	text []byte
	set  *wordSet
}

// bodyText returns content.body, or nil if it is no string.
func (ev *Event) bodyText() *body {
	if !ev.hasBody {
		ev.hasBody = true
		if n := ev.root.member("content").member("body"); n != nil && n.shape == shapeString {
			ev.body = &body{text: n.fold()}
		}
	}
	return ev.body
}

func (b *body) words() *wordSet {
	if b.set == nil {
		b.set = newWordSet(b.text)
	}
	return b.set
}
