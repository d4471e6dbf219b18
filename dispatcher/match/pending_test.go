package match

import (
	"testing"
	"time"

	"poked/events"
)

// Who keeps words about too many events gives up one that waits, not one whose event
// is being stored.
func TestEarlyLimitSparesWhoseEventHasCome(t *testing.T) {
	e := pending{}
	add := func() *pendingWord {
		w := &pendingWord{f: &fanout{open: 1}, room: "!r", event: events.EventID(time.Now().String())}
		e.add(w)
		return w
	}
	first, second := add(), add()
	e.about(first.room, first.event)
	for range pendingLimit - 1 {
		add()
	}
	if !first.waits() || second.waits() {
		t.Errorf("the one whose event has come waits: %t, the other: %t", first.waits(), second.waits())
	}
}

// Whoever names many events that never come in one room does not push out what was
// said in another.
func TestG4EarlyLimitIsSharedByRooms(t *testing.T) {
	e := pending{}
	add := func(room events.RoomID) *pendingWord {
		w := &pendingWord{f: &fanout{open: 1}, room: room, event: "$none"}
		e.add(w)
		return w
	}
	other := add("!other")
	first := add("!flood")
	for range 2 * pendingLimit {
		add("!flood")
	}
	if !other.waits() || first.waits() {
		t.Errorf("the other room's waits: %t, the oldest of the flood: %t", other.waits(), first.waits())
	}
	if e.forget(); len(e.words) > pendingLimit {
		t.Errorf("%d words are kept", len(e.words))
	}
}
