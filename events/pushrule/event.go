package pushrule

import "github.com/tidwall/gjson"

// Room is the state of the room, at the time of the event, that conditions depend on.
type Room struct {
	// MemberCount is the number of joined members.
	MemberCount int
	// SenderLevel is the power level of the event's sender.
	SenderLevel int64
	// SenderIsCreator reports whether the sender is a creator of a room of version 12 or later, whose power has no limit.
	SenderIsCreator bool
	// NotificationLevels are the power levels needed for kinds of notification, such as "room"; 50 if absent.
	NotificationLevels map[string]int64
	// Levels are the room's power levels, and LevelOf returns that of a user, or that it has no limit: a creator of a room
	// of version 12 or later. Without Levels, conditions on what the user being evaluated may do never hold (MSC4506).
	Levels  *PowerLevels
	LevelOf func(userID string) (level int64, unlimited bool)
}

// User is the user for whom an event is evaluated.
type User struct {
	ID string
	// DisplayName is the user's name in the room. Only the historical contains_display_name uses it.
	DisplayName string
}

// Event is an event in its room, ready to be evaluated for many users. It caches intermediate results, so it must not
// be used concurrently. One that is reset keeps its memory for the next event.
type Event struct {
	root    node
	sender  string // "" if absent, like roomID
	roomID  string
	room    Room
	related map[string]*Event
	offers  Offers
	// subscribed reports whether a user is subscribed to the event's thread; nil if it has none, or that is unknown.
	subscribed func(userID string) bool

	body    body // content.body, without text if it is not a string
	hasBody bool // body has been computed

	holding slots  // memoised conditions that hold
	failing slots  // memoised conditions that do not hold
	user    User   // the user being evaluated
	scratch []byte // buffer for that user's folded text

	arena arena
}

// NewEvent prepares an event in the client-server format for evaluation. With invalid JSON the results are undefined,
// but it does not panic. The event copies raw but keeps room's map, which must not change while the event is in use.
func NewEvent(raw []byte, room Room) *Event {
	ev := new(Event)
	ev.Reset(string(raw), room)
	return ev
}

// Reset makes the event another one, as NewEvent does of its bytes. Decisions about the one before are not valid any
// more, and nothing else refers to that.
func (ev *Event) Reset(raw string, room Room) {
	ev.arena.reset()
	*ev = Event{root: newNode(gjson.Parse(raw)), room: room, scratch: ev.scratch, arena: ev.arena}
	if sender := ev.textAt([]string{"sender"}); sender != nil {
		ev.sender = sender.text
	}
	if roomID := ev.textAt([]string{"room_id"}); roomID != nil {
		ev.roomID = roomID.text
	}
}

// Relate sets the event to which this one relates by relType; "m.in_reply_to" means a reply (MSC3664).
func (ev *Event) Relate(relType string, to *Event) {
	if ev.related == nil {
		ev.related = make(map[string]*Event)
	}
	ev.related[relType] = to
}

// Offer sets the proposals whose rules count for this event.
func (ev *Event) Offer(offers Offers) { ev.offers = offers }

// InThread sets who is subscribed to the thread to which the event belongs (MSC4306). Without it conditions on
// subscriptions never hold: those are also no conditions on events outside threads.
func (ev *Event) InThread(subscribed func(userID string) bool) { ev.subscribed = subscribed }

// at returns the value at a path, or nil.
func (ev *Event) at(path []string) *node {
	n := &ev.root
	for _, name := range path {
		if n = ev.member(n, name); n == nil {
			return nil
		}
	}
	return n
}

// contentMember returns a member of the event's content, or nil.
func (ev *Event) contentMember(name string) *node {
	return ev.member(ev.member(&ev.root, "content"), name)
}

// textAt returns the value at a path if it is a string, else nil.
func (ev *Event) textAt(path []string) *node {
	if n := ev.at(path); n != nil && n.shape == shapeString {
		return n
	}
	return nil
}

// body is a message's text, folded, and its words.
type body struct {
	text []byte
	set  *wordSet
}

// bodyText returns content.body, or nil if it is not a string.
func (ev *Event) bodyText() *body {
	if !ev.hasBody {
		ev.hasBody = true
		if n := ev.contentMember("body"); n != nil && n.shape == shapeString {
			ev.body.text = ev.fold(n)
		}
	}
	if ev.body.text == nil {
		return nil
	}
	return &ev.body
}

func (b *body) words() *wordSet {
	if b.set == nil {
		b.set = newWordSet(b.text)
	}
	return b.set
}
