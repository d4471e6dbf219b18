package reads_test

import (
	"slices"
	"testing"
	"time"
)

// A redaction that arrived before its event applies, however long it takes to store the
// notifications of the event.
func TestPendingRedactionWaitsUntilItsEventIsStored(t *testing.T) {
	unreadRoom(t, func(t *testing.T, h *harness) {
		h.Halt()
		h.Server.Pulse, h.Alone = 10*time.Second, true // for fewer tries
		h.Start()
		h.Register("@alice:x", "gw.test", "alice") // so that her own receipt is stored
		h.Publish(`{"event_id":"$x","room_id":"!r","type":"m.room.redaction","sender":"@alice:x","content":{"redacts":"$r-5"}}`)
		<-time.After(soon)
		const waits = 10 * time.Minute // as long as a redaction waits for its event
		h.Link.Refuse("log.", int((waits+time.Minute)/h.Own.TickInterval()))
		h.Say("!r", "@alice:x", 5, 2)
		<-time.After(waits)
		if log := h.LogOf("@bob:x"); slices.Contains(log, "$r-6") {
			t.Fatalf("bob has %v already", log)
		}
		<-time.After(2 * time.Minute)
		if log := h.LogOf("@bob:x"); slices.Contains(log, "$r-5") || !slices.Contains(log, "$r-6") {
			t.Errorf("bob has unread %v", log)
		}
	})
}

// A stop does not wait for a message that will be matched again, or that waits for another
// message of its room.
func TestStopDoesNotWaitForUnmatchedMessages(t *testing.T) {
	unreadRoom(t, func(t *testing.T, h *harness) {
		h.Receipt("!r", "@bob:x", "m.read", "$nowhere", "")
		h.Link.Refuse("log.", 1000)
		h.Say("!r", "@alice:x", 5, 3)
		<-time.After(time.Second)
		began := time.Now()
		h.Halt()
		if took := time.Since(began); took > time.Second {
			t.Errorf("stopped after %v", took)
		}
		h.Start()
		h.Arrived(8)
	})
}
