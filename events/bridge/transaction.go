package bridge

import (
	"encoding/json"
	"net/http"

	"github.com/tidwall/gjson"

	"poked/events"
)

// transaction is what a homeserver sent at once, by room.
type transaction struct {
	rooms   []*batch // in the order in which they are first named
	bad     []badItem
	ignored int
}

// batch is what a transaction holds of one room, in order.
type batch struct {
	room     events.RoomID
	events   []events.RoomEvent
	receipts [][]byte
	emptied  map[events.EventID]bool // of events: what stands for one that cannot be read
}

// badItem is something that can never be published.
type badItem struct {
	raw []byte
	ev  *events.RoomEvent // what could be read of it; nil for a receipt
	err error
}

// maxDepth is how deep a transaction may be nested to be checked as a whole. What is
// deeper is checked with its event alone.
const maxDepth = 1000

// parseTransaction takes the body of a transaction apart (application service API,
// "PUT /_matrix/app/v1/transactions/{txnId}"). What is wrong with one event is no
// reason to refuse the others: the homeserver would send them all again for ever.
func parseTransaction(body []byte) (*transaction, error) {
	if !json.Valid(withoutDepths(body, maxDepth)) {
		return nil, &problem{http.StatusBadRequest, "M_NOT_JSON", "the transaction is not JSON"}
	}
	parts := map[string]gjson.Result{}
	twice := false
	gjson.ParseBytes(body).ForEach(func(key, value gjson.Result) bool {
		twice = twice || parts[key.Str].Exists()
		parts[key.Str] = value
		return true
	})
	if twice {
		return nil, &problem{http.StatusBadRequest, "M_BAD_JSON", "a transaction has no key twice"}
	}
	ephemeral := parts["ephemeral"]
	if isAbsent(ephemeral) { // a server that sends both sends the same twice
		ephemeral = parts["de.sorunome.msc2409.ephemeral"]
	}
	toDevice := parts["to_device"]
	if !parts["events"].IsArray() || !isAbsent(ephemeral) && !ephemeral.IsArray() || !isAbsent(toDevice) && !toDevice.IsArray() {
		return nil, &problem{http.StatusBadRequest, "M_BAD_JSON", "a transaction is an object with the array events"}
	}
	t := &transaction{}
	byRoom := map[events.RoomID]*batch{}
	each := func(list gjson.Result, take func(raw []byte)) {
		if !list.IsArray() {
			return // ForEach would yield the value itself
		}
		list.ForEach(func(_, value gjson.Result) bool {
			take(body[value.Index : value.Index+len(value.Raw)])
			return true
		})
	}
	each(parts["events"], func(raw []byte) { t.addEvent(byRoom, raw) })
	each(ephemeral, func(raw []byte) { t.addEphemeral(byRoom, raw) })
	each(toDevice, func([]byte) { t.ignored++ })
	return t, nil
}

func isAbsent(value gjson.Result) bool { return value.Type == gjson.Null }

// withoutDepths returns JSON with null in place of each value that is nested deeper
// than a limit, and the JSON itself if none is: no parser that recurses, or counts,
// minds the rest.
func withoutDepths(body []byte, limit int) []byte {
	var short []byte
	depth, kept := 0, 0 // kept: up to where the body is in short
	quoted := false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{', c == '[':
			if depth++; depth == limit+1 {
				short = append(short, body[kept:i]...)
			}
		case c == '}', c == ']':
			if depth == limit+1 {
				short = append(short, "null"...)
				kept = i + 1
			}
			depth--
		}
	}
	switch {
	case kept == 0 && short == nil:
		return body
	case depth > limit:
		return nil // it ends within such a value
	}
	return append(short, body[kept:]...)
}

// addEvent takes in an event. For state that cannot be read an empty one stands in,
// as it does where a homeserver publishes such state itself.
func (t *transaction) addEvent(byRoom map[events.RoomID]*batch, raw []byte) {
	ev, err := events.ParseRoomEvent(raw)
	if err == nil {
		b := t.of(byRoom, ev.RoomID)
		b.events = append(b.events, ev)
		return
	}
	t.bad = append(t.bad, badItem{raw, &ev, err})
	if empty, ok := ev.Emptied(); ok {
		b := t.of(byRoom, ev.RoomID)
		b.events = append(b.events, empty)
		b.emptied[ev.EventID] = true
	}
}

// addEphemeral keeps receipts: nothing else of what is ephemeral notifies anyone.
// Whether one is good is for who publishes it.
func (t *transaction) addEphemeral(byRoom map[events.RoomID]*batch, raw []byte) {
	if gjson.GetBytes(raw, "type").Str != "m.receipt" {
		t.ignored++
		return
	}
	b := t.of(byRoom, events.RoomID(gjson.GetBytes(raw, "room_id").Str))
	b.receipts = append(b.receipts, raw)
}

func (t *transaction) of(byRoom map[events.RoomID]*batch, room events.RoomID) *batch {
	if byRoom[room] == nil {
		byRoom[room] = &batch{room: room, emptied: map[events.EventID]bool{}}
		t.rooms = append(t.rooms, byRoom[room])
	}
	return byRoom[room]
}
