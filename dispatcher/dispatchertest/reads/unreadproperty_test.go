package reads_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"poked/dispatcher/deliver"
	"poked/dispatcher/dispatchertest"
	"poked/events"
	"poked/events/eventstest"
	"poked/events/publish"
)

// unreadSteps is how many random steps a bubble takes at most, and everydaySteps how many are taken
// without UNREAD_STEPS.
const unreadSteps, everydaySteps = 1500, 750

// TestUnreadProperty takes random steps with rooms, receipts, gateways and dispatchers, and
// compares what is unread with a plain model every 250 steps. UNREAD_STEPS sets the number of
// steps, POKED_SEED repeats a run that failed.
func TestUnreadProperty(t *testing.T) {
	eventstest.Long(t)
	steps, seed := uint64(everydaySteps), uint64(time.Now().UnixNano())
	for name, value := range map[string]*uint64{"UNREAD_STEPS": &steps, "POKED_SEED": &seed} {
		if text := os.Getenv(name); text != "" {
			var err error
			if *value, err = strconv.ParseUint(text, 10, 64); err != nil {
				t.Fatal(err)
			}
		}
	}
	var all unreadCounts
	for taken := uint64(0); taken < steps && !t.Failed(); taken += unreadSteps {
		bubble(t, func(t *testing.T, h *harness) {
			h.Config.Badge = []deliver.BadgeOf{deliver.BadgeMessages, deliver.BadgeRooms}[seed%2]
			w := newUnreadWorld(h, rand.New(rand.NewPCG(seed, 1)))
			w.run(int(min(steps-taken, unreadSteps)))
			all.add(w.unreadCounts)
			if t.Failed() {
				t.Logf("POKED_SEED=%d", seed)
			}
		})
		seed++
	}
	t.Logf("%+v", all)
}

// unreadCounts counts what happened.
type unreadCounts struct {
	steps, receipts, marks, pending, redactions, repeated, stops, kills, shared, aged, pokes, badges, compared int
}

func (s *unreadCounts) add(o unreadCounts) {
	s.steps += o.steps
	s.receipts += o.receipts
	s.marks += o.marks
	s.pending += o.pending
	s.redactions += o.redactions
	s.repeated += o.repeated
	s.stops += o.stops
	s.kills += o.kills
	s.shared += o.shared
	s.aged += o.aged
	s.pokes += o.pokes
	s.badges += o.badges
	s.compared += o.compared
}

// unreadWorld is some rooms and their members, with the model of them.
type unreadWorld struct {
	h     *harness
	rand  *rand.Rand
	model *unreadModel
	rooms []events.RoomID
	users []events.UserID // the first has no pusher

	said   map[events.RoomID][]events.EventID // in order
	raw    map[events.EventID]string          // messages as they were published
	number int
	down   atomic.Bool    // slow.test
	pokes  int            // that were checked
	last   map[string]int // the last badge of each pushkey
	at     map[string]time.Time
	since  time.Time // when the running dispatcher started

	second *dispatchertest.Instance // another dispatcher that shares the partitions, or nil

	unreadCounts
}

func newUnreadWorld(h *harness, r *rand.Rand) *unreadWorld {
	w := &unreadWorld{
		h: h, rand: r, model: newUnreadModel(),
		rooms: []events.RoomID{"!a", "!b", "!c"}, users: []events.UserID{"@alice:x", "@bob:x", "@eve:x", "@dan:x"},
		said: map[events.RoomID][]events.EventID{}, raw: map[events.EventID]string{}, last: map[string]int{}, at: map[string]time.Time{},
	}
	h.Register("@bob:x", "gw.test", "bob")
	h.RegisterAll("@eve:x", events.Pusher{Pushkey: "eve"}, events.Pusher{Pushkey: "eve2", Data: dispatchertest.DataAt("slow.test")})
	h.Register("@dan:x", "slow.test", "dan")
	h.Start()
	for _, room := range w.rooms {
		h.Room(room, w.users...)
		w.model.members[room] = map[events.UserID]bool{}
		for _, user := range w.users {
			w.model.members[room][user] = true
		}
	}
	h.Gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
		if w.down.Load() && p.Host == "slow.test" {
			return eventstest.Reply{Status: 503}
		}
		return eventstest.Reply{}
	})
	return w
}

func (w *unreadWorld) run(steps int) {
	for range steps {
		w.steps++
		w.step()
		if w.steps%250 == 0 {
			w.compare()
		}
		if w.h.T.Failed() {
			return
		}
	}
}

func (w *unreadWorld) step() {
	room := w.rooms[w.rand.IntN(len(w.rooms))]
	user := w.users[w.rand.IntN(len(w.users))]
	switch n := w.rand.IntN(1000); {
	case n < 420:
		w.say(room, user)
	case n < 450:
		w.react(room, user)
	case n < 800:
		w.receipt(room, user)
	case n < 830:
		w.redact(room, user)
	case n < 850:
		w.changeMembership(room, user)
	case n < 860:
		w.down.Store(!w.down.Load())
	case n < 866:
		w.restart()
	case n < 870:
		w.repeat(room)
	case n < 876:
		w.share()
	case n < 878:
		w.age()
	case n < 900:
		w.mark(room, user)
	default:
		<-time.After(time.Duration(w.rand.IntN(1500)) * time.Millisecond)
	}
}

// mark marks a room as unread, or takes that back.
func (w *unreadWorld) mark(room events.RoomID, user events.UserID) {
	w.marks++
	unread := w.rand.IntN(4) > 0
	w.h.Mark(room, user, unread)
	w.model.mark(user, room, unread)
}

func (w *unreadWorld) name(n int) events.EventID { return events.EventID(fmt.Sprintf("$e%d", n)) }

// say publishes a message, in the main timeline or in a thread.
func (w *unreadWorld) say(room events.RoomID, sender events.UserID) {
	if !w.model.members[room][sender] {
		return
	}
	w.number++
	id, thread, relation := w.name(w.number), events.EventID(""), ""
	if said := w.said[room]; len(said) > 0 && w.rand.IntN(4) == 0 {
		thread = said[len(said)/16*8] // a few roots
		relation = fmt.Sprintf(`,"m.relates_to":{"rel_type":"m.thread","event_id":%q}`, thread)
	}
	msgtype := "m.text"
	if w.rand.IntN(6) == 0 {
		msgtype = "m.notice" // which notifies nobody
	}
	raw := fmt.Sprintf(`{"event_id":%q,"room_id":%q,"type":"m.room.message","sender":%q,"origin_server_ts":%d,"content":{"msgtype":%q,"body":"x"%s}}`,
		id, room, sender, time.Now().UnixMilli(), msgtype, relation)
	w.h.Publish(raw)
	w.raw[id], w.said[room] = raw, append(w.said[room], id)
	var notified []events.UserID
	for _, user := range w.users {
		if user != sender && w.model.members[room][user] && msgtype == "m.text" {
			notified = append(notified, user)
		}
	}
	w.model.event(modelEvent{id: id, room: room, thread: thread}, notified, sender)
}

// react publishes an event that notifies nobody and reads nothing.
func (w *unreadWorld) react(room events.RoomID, sender events.UserID) {
	if len(w.said[room]) == 0 || !w.model.members[room][sender] {
		return
	}
	w.number++
	id := w.name(w.number)
	w.h.Publish(fmt.Sprintf(`{"event_id":%q,"room_id":%q,"type":"m.reaction","sender":%q,"content":{"m.relates_to":{"rel_type":"m.annotation","event_id":%q,"key":"x"}}}`,
		id, room, sender, w.someEvent(room)))
	w.said[room] = append(w.said[room], id)
	w.model.event(modelEvent{id: id, room: room}, nil, "")
}

func (w *unreadWorld) someEvent(room events.RoomID) events.EventID {
	said := w.said[room]
	if w.rand.IntN(3) > 0 {
		return said[len(said)-1-w.rand.IntN(min(len(said), 5))]
	}
	return said[w.rand.IntN(len(said))]
}

// receipt publishes a receipt for an event of the room, or for the next event, which may be in
// another room.
func (w *unreadWorld) receipt(room events.RoomID, user events.UserID) {
	if len(w.said[room]) == 0 {
		return
	}
	r := modelReceipt{room: room, user: user, event: w.someEvent(room), whole: true}
	if old := w.model.unread[user]; len(old) > 0 && w.rand.IntN(8) == 0 { // of any age
		if one := old[w.rand.IntN(len(old))]; len(w.said[one.room]) > 0 {
			room, r.room, r.event = one.room, one.room, one.id
		}
	}
	pending := w.rand.IntN(40) == 0
	if pending {
		r.event = w.name(w.number + 1)
	}
	thread := ""
	switch w.rand.IntN(4) {
	case 0:
		r.whole, thread = false, `,"thread_id":"main"`
	case 1:
		r.whole, r.thread = false, w.said[room][len(w.said[room])/16*8]
		thread = fmt.Sprintf(`,"thread_id":%q`, r.thread)
	}
	kind := []string{"m.read", "m.read.private"}[w.rand.IntN(2)]
	raw := fmt.Sprintf(`{"type":"m.receipt","room_id":%q,"content":{%q:{%q:{%q:{"ts":1%s}}}}}`, room, r.event, kind, user, thread)
	if err := publish.NewPublisher(w.h.Conn).Receipt(w.h.T.Context(), []byte(raw)); err != nil {
		w.h.T.Fatal(err)
	}
	w.receipts++
	w.model.receipt(r)
	if pending {
		w.pending++
		w.sayOne(room)
	}
}

// sayOne publishes the event to which a receipt or redaction before it refers.
func (w *unreadWorld) sayOne(room events.RoomID) {
	before := w.number
	for _, sender := range w.users {
		if w.number == before {
			w.say(room, sender)
		}
	}
}

func (w *unreadWorld) redact(room events.RoomID, sender events.UserID) {
	if len(w.said[room]) == 0 {
		return
	}
	target := w.someEvent(room)
	pending := w.rand.IntN(10) == 0
	if pending {
		target = w.name(w.number + 2)
	}
	w.number++
	id := w.name(w.number)
	// Since room version 11 the content says it; a homeserver may copy it beside that.
	field, content := fmt.Sprintf(`,"redacts":%q`, target), fmt.Sprintf(`{"redacts":%q}`, target)
	if w.rand.IntN(2) == 0 {
		field = ""
	}
	w.h.Publish(fmt.Sprintf(`{"event_id":%q,"room_id":%q,"type":"m.room.redaction","sender":%q,"content":%s%s}`, id, room, sender, content, field))
	w.redactions++
	w.model.event(modelEvent{id: id, room: room}, nil, "")
	w.said[room] = append(w.said[room], id)
	w.model.redact(modelRedaction{room, target})
	if pending {
		w.sayOne(room)
	}
}

// changeMembership makes a member leave or be banned, or a former member join.
func (w *unreadWorld) changeMembership(room events.RoomID, user events.UserID) {
	w.number++
	id := w.name(w.number)
	membership := "join"
	if w.model.members[room][user] {
		membership = []string{"leave", "ban"}[w.rand.IntN(2)]
	}
	w.h.Publish(fmt.Sprintf(`{"event_id":%q,"room_id":%q,"type":"m.room.member","sender":%q,"state_key":%q,"content":{"membership":%q}}`,
		id, room, user, user, membership))
	w.said[room] = append(w.said[room], id)
	w.model.members[room][user] = membership == "join"
	w.model.event(modelEvent{id: id, room: room}, nil, user)
}

// long waits until NATS has forgotten the ids of what was published, mostly while no dispatcher runs:
// one that runs for so long takes as much processor time as a hundred steps.
func (w *unreadWorld) long() {
	const enough = 11 * time.Minute
	if w.rand.IntN(4) == 0 {
		<-time.After(enough)
		return
	}
	w.halt()
	<-time.After(enough)
	w.since = time.Now()
	w.h.Begin()
	<-time.After(15 * time.Second) // until it has matched what the last ones left
}

// halt stops all dispatchers in order.
func (w *unreadWorld) halt() {
	if w.second != nil {
		w.second.Halt()
		w.second = nil
	}
	w.h.Halt()
}

// repeat publishes an old message again.
func (w *unreadWorld) repeat(room events.RoomID) {
	w.long()
	w.model.pending, w.model.redacted = nil, map[modelRedaction]bool{} // pending receipts and redactions are dropped by then
	if len(w.said[room]) == 0 {
		return
	}
	if raw, ok := w.raw[w.someEvent(room)]; ok {
		w.repeated++
		w.h.Publish(raw)
	}
}

func (w *unreadWorld) restart() {
	if w.rand.IntN(3) > 0 {
		w.stops++
		w.h.Halt()
	} else {
		w.kills++
		w.h.Kill()
	}
	w.since = time.Now()
	w.h.Begin()
}

// share starts a second dispatcher, or ends one of two: then the other one takes over what it
// knows nothing of.
func (w *unreadWorld) share() {
	w.shared++
	if w.second == nil {
		w.second = w.h.Instance
		w.h.Begin()
	} else {
		gone := w.second
		if w.rand.IntN(2) == 0 {
			gone, w.h.Instance = w.h.Instance, w.second
		}
		if w.second = nil; w.rand.IntN(2) == 0 {
			gone.Kill()
		} else {
			gone.Halt()
		}
	}
	w.since = time.Now().Add(15 * time.Second) // until then partitions move
}

// age makes all that was published so far older than what ROOMS keeps, and the dispatchers
// forget what they remember of it.
func (w *unreadWorld) age() {
	w.long() // and until what waits for its event is given up
	w.aged++
	w.h.Server.Purge("ROOMS")
	w.halt()
	w.since = time.Now()
	w.h.Begin()
	w.model.age()
	clear(w.said)
	clear(w.raw)
}

// compare waits until every pusher has caught up, and compares logs and badges with the
// model.
func (w *unreadWorld) compare() {
	w.down.Store(false)
	<-time.After(20 * time.Second)
	w.h.CaughtUp()
	<-time.After(5 * time.Second)
	w.compared++
	pokes := w.h.Gateway.Pokes()
	w.look(pokes[w.pokes:])
	w.pokes = len(pokes)
	for user, keys := range map[events.UserID][]string{"@bob:x": {"bob"}, "@eve:x": {"eve", "eve2"}, "@dan:x": {"dan"}} {
		log, want := w.h.LogOf(user), w.model.ids(user)
		slices.Sort(log)
		slices.Sort(want)
		known := w.h.Unread(user)
		slices.Sort(known)
		if !slices.Equal(log, want) || !slices.Equal(known, want) {
			w.h.T.Errorf("after %d steps %s has unread %v by the log, and %v by its owner, want %v", w.steps, user, log, known, want)
		}
		count := len(want)
		if w.h.Config.Badge == deliver.BadgeRooms {
			count = w.model.rooms(user)
		}
		for _, key := range keys {
			if last, sent := w.last[key]; sent && last != count || !sent && count > 0 {
				w.h.T.Errorf("after %d steps the last badge of %s is %d, %d are unread", w.steps, key, last, count)
			}
		}
	}
}

// look checks new pokes: a badge-only poke carries another count than the poke before it, if
// the running dispatcher sent that one.
func (w *unreadWorld) look(pokes []eventstest.Poke) {
	for _, p := range pokes {
		w.unreadCounts.pokes++
		if p.EventID == "" {
			w.badges++
			if last, sent := w.last[p.Pushkey]; sent && last == p.Unread && w.at[p.Pushkey].After(w.since) {
				w.h.T.Errorf("%s got the count %d twice in a row: %s", p.Pushkey, p.Unread, strings.TrimSpace(string(p.Body)))
			}
		}
		w.last[p.Pushkey], w.at[p.Pushkey] = p.Unread, p.At
	}
}
