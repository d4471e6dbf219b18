package dispatcher

import (
	"context"
	"strings"
	"testing"
	"time"

	"poked/events/eventstest"
)

// TestStreamDeletedUnderneath deletes each stream and bucket while the dispatcher runs. What
// it held is lost, but new pushers and new events work.
func TestStreamDeletedUnderneath(t *testing.T) {
	eventstest.Long(t)
	for _, name := range []string{
		"ROOMS", "ROOM_STATE", "NOTIFICATIONS", "REJECTED", "DEAD",
		"KV_PUSHERS", "KV_PUSH_RULES", "KV_BACKLOG", "KV_POSITIONS", "KV_WORKERS",
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *harness) {
				h.register("@bob:x", "gw.test", "old")
				h.begin()
				h.keepStreams()
				<-h.d.Ready()
				h.room("!r", "@alice:x", "@bob:x")
				h.say("!r", "@alice:x", 0, 3)
				h.arrived(3)
				<-time.After(5 * time.Second) // until positions are stored: nothing is repeated
				h.server.DeleteStream(name)
				<-time.After(20 * time.Second)
				h.register("@bob:x", "gw.test", "old", "new")
				h.say("!r", "@alice:x", 3, 3)
				pokes := h.arrived(9)
				<-time.After(time.Minute)
				if got := delivered(pokes, "new"); got != "r-3 r-4 r-5" {
					t.Errorf("the new pusher got %s", got)
				}
				if got := delivered(h.gateway.Pokes(), "old"); got != "r-0 r-1 r-2 r-3 r-4 r-5" {
					t.Errorf("the old pusher got %s", got)
				}
				if !strings.Contains(h.log.String(), "what it held is lost\" stream="+name) {
					t.Error("its deletion was not logged")
				}
			})
		})
	}
}

// keepStreams keeps the streams of the dispatcher's connection, as the program does.
func (h *harness) keepStreams() {
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
