package dispatcher

import (
	"slices"
	"testing"
	"time"
)

// A receipt or redaction that arrived before its event applies, however long it takes
// until everything is stored that the event brings about.
func TestEarlyRedactionOutlastsTheStoring(t *testing.T) {
	readers(t, func(t *testing.T, h *house) {
		h.halt()
		h.server.Pulse, h.alone = 10*time.Second, true // few tries in so long a time
		h.start()
		h.register("@alice:x", "gw.test", "alice") // so that it is written down what she has read
		h.publish(`{"event_id":"$x","room_id":"!r","type":"m.room.redaction","sender":"@alice:x","content":{"redacts":"$r-5"}}`)
		<-time.After(soon)
		const waits = 10 * time.Minute // for its event, a redaction does
		h.link.Refuse("read.", int((waits+time.Minute)/h.own.TickInterval()))
		h.say("!r", "@alice:x", 5, 2)
		<-time.After(waits)
		if log := h.logOf("@bob:x"); slices.Contains(log, "$r-6") {
			t.Fatalf("bob has %v already", log)
		}
		<-time.After(2 * time.Minute)
		if log := h.logOf("@bob:x"); slices.Contains(log, "$r-5") || !slices.Contains(log, "$r-6") {
			t.Errorf("bob has unread %v", log)
		}
	})
}

// A stop waits for no message that is to be matched again, or that waits for another
// of its room.
func TestStopWaitsForWhatIsOutOnly(t *testing.T) {
	readers(t, func(t *testing.T, h *house) {
		h.receipt("!r", "@bob:x", "m.read", "$nowhere", "")
		h.link.Refuse("notify.", 1000)
		h.say("!r", "@alice:x", 5, 3)
		<-time.After(time.Second)
		began := time.Now()
		h.halt()
		if took := time.Since(began); took > time.Second {
			t.Errorf("stopped after %v", took)
		}
		h.start()
		h.arrived(8)
	})
}
