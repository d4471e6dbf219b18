package deliver

import (
	"testing"

	"poked/events"
	"poked/events/eventstest"
)

// ROOMS may lose the end that it had, and give its sequences to new events: an event is a repeat
// only if its id is that of the one that the log has.
func TestRepeatIsTheSameEvent(t *testing.T) {
	notify := func(id events.EventID) *events.LogNotification {
		n := eventstest.Notification()
		n.EventID, n.RoomSeq = id, 7
		m := n.Log("@a:x", "!r")
		return &m
	}
	e := &earlier{seen: map[repeat]struct{}{}}
	e.add(notify("$old").AppendJSON(nil))
	if !e.has(notify("$old"), "@a:x") || e.has(notify("$old"), "@b:x") || e.has(notify("$new"), "@a:x") {
		t.Errorf("it has %v", e.seen)
	}
	e.add(events.Redaction{RoomID: "!r", RoomSeq: 7, Seq: 1, Users: []events.UserID{"@b:x"}}.AppendJSON(nil))
	if !e.has(notify("$old"), "@b:x") {
		t.Error("a redacted event is a repeat no more")
	}
}
