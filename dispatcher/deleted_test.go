package dispatcher

import (
	"context"
	"strings"
	"testing"
	"time"

	"poked/events/eventstest"
)

// TestStreamDeletedUnderneath has an operator delete one stream or bucket after
// the other under a dispatcher that works. What was in it is lost; what comes
// after that is not: a new pusher, and a new event told to it.
func TestStreamDeletedUnderneath(t *testing.T) {
	eventstest.Long(t)
	for _, name := range []string{
		"ROOMS", "ROOM_STATE", "NOTIFICATIONS", "REJECTED", "DEAD",
		"KV_PUSHERS", "KV_PUSH_RULES", "KV_BACKLOG", "KV_POSITIONS", "KV_WORKERS",
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *house) {
				h.register("@bob:x", "gw.test", "old")
				h.begin()
				h.keep()
				<-h.d.Ready()
				h.room("!r", "@alice:x", "@bob:x")
				h.say("!r", "@alice:x", 0, 3)
				h.arrived(3)
				<-time.After(5 * time.Second) // no life of the dispatcher ends with something to repeat
				h.server.DeleteStream(name)
				<-time.After(20 * time.Second)
				h.register("@bob:x", "gw.test", "old", "new")
				h.say("!r", "@alice:x", 3, 3)
				pokes := h.arrived(9)
				<-time.After(time.Minute)
				if got := delivered(pokes, "new"); got != "r-3 r-4 r-5" {
					t.Errorf("the new pusher was told %s", got)
				}
				if got := delivered(h.gateway.Pokes(), "old"); got != "r-0 r-1 r-2 r-3 r-4 r-5" {
					t.Errorf("the old pusher was told %s", got)
				}
				if !strings.Contains(h.log.String(), "what it held is lost\" stream="+name) {
					t.Error("nobody said that it was deleted")
				}
			})
		})
	}
}

// keep has the dispatcher's connection look after the streams, as the program does.
func (h *house) keep() {
	ctx, cancel := context.WithCancel(context.WithoutCancel(h.t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- h.own.Keep(ctx, eventstest.Topology()) }()
	h.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			h.t.Errorf("keep: %v", err)
		}
	})
}
