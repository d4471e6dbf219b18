package dispatcher

import (
	"testing"
	"time"

	"poked/events"
)

// A message that cannot be read holds up nothing, even if its dead letter cannot be stored.
func TestRoomGoesOnWithoutADeadLetter(t *testing.T) {
	unreadRoom(t, func(t *testing.T, h *harness) {
		h.link.Refuse("dead.", 100)
		h.server.Publish("room."+events.Token("!r")+".event", "{")
		h.say("!r", "@alice:x", 5, 3)
		<-time.After(time.Second)
		if log := h.logOf("@bob:x"); len(log) != 8 {
			t.Errorf("bob has %v", log)
		}
		<-time.After(time.Minute)
		if dead, skipped := len(h.dead()), h.d.Stats().Skipped; dead != 1 || skipped != 1 {
			t.Errorf("%d dead letters, %d skipped", dead, skipped)
		}
	})
}
