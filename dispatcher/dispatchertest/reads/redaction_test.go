package reads_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"poked/dispatcher/dispatchertest"
	"poked/events"
)

// What a redaction redacts depends on the room's version, and it changes nothing without
// the power to: that of the room, or over the events of the sender's own server.
func TestRedactedEventDoesNotCount(t *testing.T) {
	const inside, beside = `"content":{"redacts":"$r-2"}`, `"content":{},"redacts":"$r-2"`
	for name, row := range map[string]struct {
		version, form string
		sender        events.UserID
		redacts       bool
	}{
		"version 11 inside":             {"11", inside, "@alice:x", true},
		"version 11 beside":             {"11", beside, "@alice:x", false},
		"version 10 inside":             {"10", inside, "@alice:x", false},
		"version 10 beside":             {"10", beside, "@alice:x", true},
		"version 10 both":               {"10", `"content":{"redacts":"$r-3"},"redacts":"$r-2"`, "@alice:x", true},
		"version 11 both":               {"11", `"content":{"redacts":"$r-2"},"redacts":"$r-3"`, "@alice:x", true},
		"of the same server":            {"11", inside, "@bob:x", true},
		"of another server":             {"11", inside, "@eve:y", false},
		"of another server, with power": {"11", inside, "@mod:y", true},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *harness) {
				h.Register("@bob:x", "gw.test", "bob")
				h.Start()
				h.RoomOf("!r", row.version, "@alice:x", "@bob:x", "@eve:y", "@mod:y")
				h.Publish(`{"event_id":"$levels","room_id":"!r","type":"m.room.power_levels","sender":"@alice:x","state_key":"",
					"content":{"users":{"@alice:x":100,"@mod:y":60,"@eve:y":59},"redact":60}}`)
				h.Say("!r", "@alice:x", 0, 5)
				h.Arrived(5)
				<-time.After(time.Second)
				h.Publish(fmt.Sprintf(`{"event_id":"$x","room_id":"!r","type":"m.room.redaction","sender":%q,%s}`, row.sender, row.form))
				if row.redacts {
					unreadIs(t, h, "0 1 3 4", "[4]")
				} else {
					unreadIs(t, h, "0 1 2 3 4", "")
				}
			})
		})
	}
}

// A redaction without power that arrives before its event changes nothing either.
func TestRedactionBeforeItsEvent(t *testing.T) {
	for sender, log := range map[events.UserID]string{"@alice:x": "0 1 2 3 4 6", "@eve:y": "0 1 2 3 4 5 6"} {
		t.Run(string(sender), func(t *testing.T) {
			unreadRoom(t, func(t *testing.T, h *harness) {
				h.Publish(fmt.Sprintf(`{"event_id":"$x","room_id":"!r","type":"m.room.redaction","sender":%q,"content":{"redacts":"$r-5"}}`, sender))
				h.Say("!r", "@alice:x", 5, 2)
				<-time.After(soon)
				if got := strings.ReplaceAll(strings.Trim(fmt.Sprint(h.LogOf("@bob:x")), "[]"), "$r-", ""); got != log {
					t.Errorf("bob has unread %s, want %s", got, log)
				}
			})
		})
	}
}

// An event that was redacted before it arrived is neither poked nor counted; its sender has
// read the room by it all the same.
func TestEventThatArrivesRedacted(t *testing.T) {
	unreadRoom(t, func(t *testing.T, h *harness) {
		gone := func(id, sender, kind, because string) {
			h.Publish(fmt.Sprintf(`{"event_id":%q,"room_id":"!r","type":%q,"sender":%q,"content":{},"unsigned":{"redacted_because":%s}}`, id, kind, sender, because))
		}
		gone("$gone", "@alice:x", "m.room.message", `{"type":"m.room.redaction"}`)
		gone("$hidden", "@alice:x", "m.room.encrypted", `{"type":"m.room.redaction"}`)
		gone("$r-5", "@alice:x", "m.room.encrypted", "null")
		unreadIs(t, h, "0 1 2 3 4 5", "6")
		gone("$own", "@bob:x", "m.room.message", `{"type":"m.room.redaction"}`)
		unreadIs(t, h, "", "6 [0]")
	})
}

// A redaction right after its event finds the notification, though the replica that answers
// does not have it yet.
func TestRedactionAtAReplicaThatIsBehind(t *testing.T) {
	unreadRoom(t, func(t *testing.T, h *harness) {
		h.Link.Behind("NOTIFICATIONS")
		h.Say("!r", "@alice:x", 5, 1)
		h.Publish(`{"event_id":"$x","room_id":"!r","type":"m.room.redaction","sender":"@alice:x","content":{"redacts":"$r-5"}}`)
		<-time.After(soon)
		if log := h.LogOf("@bob:x"); slices.Contains(log, "$r-5") {
			t.Errorf("bob has unread %v", log)
		}
	})
}

// A redaction removes the notification of an event, also if rules changed before the next
// owner matched the event again.
func TestRedactionAfterRulesChanged(t *testing.T) {
	unreadRoom(t, func(t *testing.T, h *harness) {
		h.Link.Refuse("$KV.POSITIONS.match.", 1000)
		h.Say("!r", "@alice:x", 5, 1)
		h.Arrived(6)
		h.Kill()
		h.Rules("@bob:x", events.UserPushRules{Changes: dispatchertest.Master()})
		h.Start()
		<-time.After(soon)
		h.Publish(`{"event_id":"$x","room_id":"!r","type":"m.room.redaction","sender":"@alice:x","content":{"redacts":"$r-5"}}`)
		<-time.After(soon)
		if log := h.LogOf("@bob:x"); slices.Contains(log, "$r-5") {
			t.Errorf("bob has unread %v", log)
		}
	})
}

// A receipt for a redaction counts, though the redaction had to wait until its event was
// stored.
func TestReceiptForARedactionThatWaited(t *testing.T) {
	unreadRoom(t, func(t *testing.T, h *harness) {
		h.Receipt("!r", "@bob:x", "m.read", "$nowhere", "") // makes match read the whole room
		<-time.After(soon)
		h.Say("!r", "@alice:x", 5, 1)
		h.Publish(`{"event_id":"$x","room_id":"!r","type":"m.room.redaction","sender":"@alice:x","content":{"redacts":"$r-5"}}`)
		h.Say("!r", "@alice:x", 6, 1)
		<-time.After(soon)
		h.Receipt("!r", "@bob:x", "m.read", "$x", "")
		<-time.After(soon)
		if log := h.LogOf("@bob:x"); len(log) != 1 || log[0] != "$r-6" {
			t.Errorf("bob has unread %v", log)
		}
	})
}

// An event that redacts itself leaves no message open.
func TestRedactionOfItself(t *testing.T) {
	unreadRoom(t, func(t *testing.T, h *harness) {
		h.Publish(`{"event_id":"$x","room_id":"!r","type":"m.room.redaction","sender":"@alice:x","content":{"redacts":"$x"}}`)
		unreadIs(t, h, "0 1 2 3 4", "")
		for _, f := range h.Dispatcher.Following() {
			if f.Open > 0 {
				t.Errorf("%d messages of %s are open", f.Open, f.Stage)
			}
		}
	})
}
