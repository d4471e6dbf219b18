package bridge

import (
	"encoding/json"
	"net/http"

	"github.com/tidwall/gjson"

	"poked/events"
)

// transaction is a parsed transaction, grouped by room.
type transaction struct {
	trace   string   // header traceparent of the request
	rooms   []*batch // in the order of their first event or receipt
	bad     []badItem
	ignored int
}

// batch holds a transaction's events and receipts of one room, in order.
type batch struct {
	room     events.RoomID
	trace    string // of the transaction
	events   []events.RoomEvent
	receipts [][]byte
	emptied  map[events.EventID]bool // events whose content was removed because it could not be parsed
}

// badItem is something that can never be published.
type badItem struct {
	raw []byte
	ev  *events.RoomEvent // as far as it could be parsed; nil for a receipt
	err error
}

// maxDepth is the nesting depth up to which a transaction is checked as a whole. Deeper
// values are checked with their own event only.
const maxDepth = 1000

// parseTransaction parses the body of a transaction (application service API, "PUT
// /_matrix/app/v1/transactions/{txnId}"). A bad event does not make the transaction fail,
// since the homeserver would repeat it forever. trace is the request's traceparent.
func parseTransaction(body []byte, trace string) (*transaction, error) {
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
		return nil, &problem{http.StatusBadRequest, "M_BAD_JSON", "the transaction has a duplicate key"}
	}
	ephemeral := parts["ephemeral"]
	if isAbsent(ephemeral) { // a server that sends both forms sends the same events in each
		ephemeral = parts["de.sorunome.msc2409.ephemeral"]
	}
	toDevice := parts["to_device"]
	if !parts["events"].IsArray() || !isAbsent(ephemeral) && !ephemeral.IsArray() || !isAbsent(toDevice) && !toDevice.IsArray() {
		return nil, &problem{http.StatusBadRequest, "M_BAD_JSON", "a transaction must be an object with the array events"}
	}
	t := &transaction{trace: trace}
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

// withoutDepths returns body with null in place of each value that is nested deeper than
// limit, or body itself if none is. Parsers with a limit of their own accept the result.
func withoutDepths(body []byte, limit int) []byte {
	var short []byte
	depth, kept := 0, 0 // body[:kept] is already in short
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

// addEvent adds an event. A state event that cannot be parsed is added without content,
// as when a homeserver publishes such an event itself.
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

// addEphemeral adds a receipt. Other ephemeral events notify nobody and are ignored. The
// publisher validates receipts.
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
		byRoom[room] = &batch{room: room, trace: t.trace, emptied: map[events.EventID]bool{}}
		t.rooms = append(t.rooms, byRoom[room])
	}
	return byRoom[room]
}
