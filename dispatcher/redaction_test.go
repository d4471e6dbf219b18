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
			unreadRoom(t, func(t *testing.T, h *harness) {
				h.publish(`{"event_id":"$x","room_id":"!r","type":"m.room.redaction","sender":"@alice:x",` + form + `}`)
				unreadIs(t, h, "0 1 3 4", "[4]")
			})
		})
	}
}

// A redaction right after its event finds the notification, though the replica that answers
// does not have it yet.
func TestRedactionAtAReplicaThatIsBehind(t *testing.T) {
	unreadRoom(t, func(t *testing.T, h *harness) {
		h.link.Behind("NOTIFICATIONS")
		h.say("!r", "@alice:x", 5, 1)
		h.publish(`{"event_id":"$x","room_id":"!r","type":"m.room.redaction","sender":"@alice:x","content":{"redacts":"$r-5"}}`)
		<-time.After(soon)
		if log := h.logOf("@bob:x"); slices.Contains(log, "$r-5") {
			t.Errorf("bob has unread %v", log)
		}
	})
}

// A redaction removes the notification of an event, also if rules changed before the next
// owner matched the event again.
func TestRedactionAfterRulesChanged(t *testing.T) {
	unreadRoom(t, func(t *testing.T, h *harness) {
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

// A receipt for a redaction counts, though the redaction had to wait until its event was
// stored.
func TestReceiptForARedactionThatWaited(t *testing.T) {
	unreadRoom(t, func(t *testing.T, h *harness) {
		h.receipt("!r", "@bob:x", "m.read", "$nowhere", "") // makes match read the whole room
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

// An event that redacts itself leaves no message open.
func TestRedactionOfItself(t *testing.T) {
	unreadRoom(t, func(t *testing.T, h *harness) {
		h.publish(`{"event_id":"$x","room_id":"!r","type":"m.room.redaction","sender":"@alice:x","content":{"redacts":"$x"}}`)
		unreadIs(t, h, "0 1 2 3 4", "")
		for _, f := range h.d.Following() {
			if f.Open > 0 {
				t.Errorf("%d messages of %s are open", f.Open, f.Stage)
			}
		}
	})
}
