package reads_test

import (
	"testing"
	"time"

	"poked/events"
)

// A message that cannot be read holds up nothing, even if its dead letter cannot be stored.
func TestRoomGoesOnWithoutADeadLetter(t *testing.T) {
	unreadRoom(t, func(t *testing.T, h *harness) {
		h.Link.Refuse("dead.", 100)
		h.Server.Publish("room."+events.Token("!r")+".event", "{")
		h.Say("!r", "@alice:x", 5, 3)
		<-time.After(time.Second)
		if log := h.LogOf("@bob:x"); len(log) != 8 {
			t.Errorf("bob has %v", log)
		}
		<-time.After(time.Minute)
		if dead, skipped := len(h.Dead()), h.Dispatcher.Stats().Skipped; dead != 1 || skipped != 1 {
			t.Errorf("%d dead letters, %d skipped", dead, skipped)
		}
	})
}
