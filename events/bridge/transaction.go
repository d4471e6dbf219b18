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
	receipts []json.RawMessage
}

// badItem is something that can never be published.
type badItem struct {
	raw []byte
	err error
}

// parseTransaction takes the body of a transaction apart (application service API,
// "PUT /_matrix/app/v1/transactions/{txnId}").
func parseTransaction(body []byte) (*transaction, error) {
	if !json.Valid(body) {
		return nil, &problem{http.StatusBadRequest, "M_NOT_JSON", "the transaction is not JSON"}
	}
	var parts struct {
		Events    *[]json.RawMessage `json:"events"`
		Ephemeral *[]json.RawMessage `json:"ephemeral"`
		Unstable  *[]json.RawMessage `json:"de.sorunome.msc2409.ephemeral"`
		ToDevice  []json.RawMessage  `json:"to_device"`
	}
	if err := json.Unmarshal(body, &parts); err != nil || parts.Events == nil {
		return nil, &problem{http.StatusBadRequest, "M_BAD_JSON", "a transaction is an object with the array events"}
	}
	if parts.Ephemeral == nil { // a server that sends both sends the same twice
		parts.Ephemeral = parts.Unstable
	}
	t := &transaction{ignored: len(parts.ToDevice)}
	byRoom := map[events.RoomID]*batch{}
	for _, raw := range *parts.Events {
		t.addEvent(byRoom, raw)
	}
	if parts.Ephemeral != nil {
		for _, raw := range *parts.Ephemeral {
			t.addEphemeral(byRoom, raw)
		}
	}
	return t, nil
}

func (t *transaction) addEvent(byRoom map[events.RoomID]*batch, raw []byte) {
	ev, err := events.ParseRoomEvent(raw)
	if err != nil {
		t.bad = append(t.bad, badItem{raw, err})
		return
	}
	b := t.of(byRoom, ev.RoomID)
	b.events = append(b.events, ev)
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
		byRoom[room] = &batch{room: room}
		t.rooms = append(t.rooms, byRoom[room])
	}
	return byRoom[room]
}
