package owners_test

import (
	"testing"
	"time"

	"poked/dispatcher/dispatchertest"
	"poked/events/eventstest"
)

// While a partition waits for NATS to tell what one user has unread, what is delivered to
// others is recorded, and not sent again by the next owner (G2).
func TestG2WhatIsDeliveredIsStoredWhileAReadWaits(t *testing.T) {
	bubbleOf(t, 1, func(t *testing.T, h *harness) {
		h.Register("@bob:x", "gw.test", "bob")
		h.Register("@carol:x", "gw.test", "carol")
		h.Start()
		h.Room("!b", "@alice:x", "@bob:x")
		h.Room("!c", "@alice:x", "@carol:x")
		h.Say("!b", "@alice:x", 0, 1)
		h.Say("!c", "@alice:x", 0, 1)
		h.Arrived(2)
		<-time.After(time.Second)
		h.Kill() // the next owner knows of nobody what is unread
		h.Start()

		h.Gateway.Answer(dispatchertest.Always(eventstest.Reply{After: 50 * time.Millisecond}))
		h.Say("!b", "@alice:x", 1, 1)
		<-time.After(20 * time.Millisecond) // its poke is in flight
		h.Link.Behind("NOTIFICATIONS")
		h.Say("!c", "@alice:x", 1, 1)
		<-time.After(500 * time.Millisecond)
		h.Kill()
		h.Start()
		<-time.After(10 * time.Second)
		for key, want := range map[string]string{"bob": "b-0 b-1", "carol": "c-0 c-1"} {
			if got := h.Delivered(key); got != want {
				t.Errorf("%s got %q, want %q: %s", key, got, want, h.History())
			}
		}
	})
}
