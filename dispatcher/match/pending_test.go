package match

import (
	"testing"
	"time"

	"poked/events"
)

// At the limit, an item whose event has not arrived is given up, not one whose event is
// being stored.
func TestPendingLimitSparesItemsWhoseEventArrived(t *testing.T) {
	p := pending{}
	add := func() *pendingItem {
		it := &pendingItem{f: &fanout{open: 1}, room: "!r", event: events.EventID(time.Now().String())}
		p.add(it)
		return it
	}
	first, second := add(), add()
	p.about(first.room, first.event)
	for range pendingLimit - 1 {
		add()
	}
	if !first.waits() || second.waits() {
		t.Errorf("the item whose event arrived waits: %t, the other: %t", first.waits(), second.waits())
	}
}

// A member who names many events that never arrive, in one room, does not displace
// receipts and redactions of another room.
func TestG4PendingLimitIsSharedByRooms(t *testing.T) {
	p := pending{}
	add := func(room events.RoomID) *pendingItem {
		it := &pendingItem{f: &fanout{open: 1}, room: room, event: "$none"}
		p.add(it)
		return it
	}
	other := add("!other")
	first := add("!flood")
	for range 2 * pendingLimit {
		add("!flood")
	}
	if !other.waits() || first.waits() {
		t.Errorf("the other room's item waits: %t, the oldest of the flood: %t", other.waits(), first.waits())
	}
	if p.forget(); len(p.items) > pendingLimit {
		t.Errorf("%d items are kept", len(p.items))
	}
}
