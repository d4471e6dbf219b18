package dispatcher

import (
	"slices"
	"testing"
	"time"

	"poked/events"
)

func TestRedactedEventDoesNotCount(t *testing.T) {
	for name, form := range map[string]string{
		"before version 11": `"redacts":"$r-2","content":{}`,
		"since version 11":  `"content":{"redacts":"$r-2"}`,
	} {
		t.Run(name, func(t *testing.T) {
			readers(t, func(t *testing.T, h *house) {
				h.publish(`{"event_id":"$x","room_id":"!r","type":"m.room.redaction","sender":"@alice:x",` + form + `}`)
				unreadIs(t, h, "0 1 3 4", "[4]")
			})
		})
	}
}

// A redaction that follows its event closely finds what the replica which answers has
// not heard of yet.
func TestRedactionAtAReplicaThatIsBehind(t *testing.T) {
	readers(t, func(t *testing.T, h *house) {
		h.link.Behind("NOTIFICATIONS")
		h.say("!r", "@alice:x", 5, 1)
		h.publish(`{"event_id":"$x","room_id":"!r","type":"m.room.redaction","sender":"@alice:x","content":{"redacts":"$r-5"}}`)
		<-time.After(soon)
		if log := h.logOf("@bob:x"); slices.Contains(log, "$r-5") {
			t.Errorf("bob has unread %v", log)
		}
	})
}

// A redaction removes the notifications of an event which notified by rules that
// were changed before a successor matched it again.
func TestRedactionAfterRulesChanged(t *testing.T) {
	readers(t, func(t *testing.T, h *house) {
		h.link.Refuse("$KV.POSITIONS.match.", 1000)
		h.say("!r", "@alice:x", 5, 1)
		h.arrived(6)
		h.kill()
		h.rules("@bob:x", events.UserPushRules{Changes: master()})
		h.start()
		<-time.After(soon)
		h.publish(`{"event_id":"$x","room_id":"!r","type":"m.room.redaction","sender":"@alice:x","content":{"redacts":"$r-5"}}`)
		<-time.After(soon)
		if log := h.logOf("@bob:x"); slices.Contains(log, "$r-5") {
			t.Errorf("bob has unread %v", log)
		}
	})
}

// A receipt for a redaction that had to wait until its event was stored finds it
// all the same.
func TestReceiptForARedactionThatWaited(t *testing.T) {
	readers(t, func(t *testing.T, h *house) {
		h.receipt("!r", "@bob:x", "m.read", "$nowhere", "") // all of the room is looked through
		<-time.After(soon)
		h.say("!r", "@alice:x", 5, 1)
		h.publish(`{"event_id":"$x","room_id":"!r","type":"m.room.redaction","sender":"@alice:x","content":{"redacts":"$r-5"}}`)
		h.say("!r", "@alice:x", 6, 1)
		<-time.After(soon)
		h.receipt("!r", "@bob:x", "m.read", "$x", "")
		<-time.After(soon)
		if log := h.logOf("@bob:x"); len(log) != 1 || log[0] != "$r-6" {
			t.Errorf("bob has unread %v", log)
		}
	})
}

// Nothing stays open because of an event that redacts itself.
func TestRedactionOfItself(t *testing.T) {
	readers(t, func(t *testing.T, h *house) {
		h.publish(`{"event_id":"$x","room_id":"!r","type":"m.room.redaction","sender":"@alice:x","content":{"redacts":"$x"}}`)
		unreadIs(t, h, "0 1 2 3 4", "")
		for _, f := range h.d.Following() {
			if f.Open > 0 {
				t.Errorf("%d messages of %s are open", f.Open, f.Stage)
			}
		}
	})
}
