package owners_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"poked/dispatcher/dispatchertest"
	"poked/events/eventstest"
	"poked/events/natstest"
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
				h.Register("@bob:x", "gw.test", "old")
				h.Begin()
				h.keepStreams()
				<-h.Dispatcher.Ready()
				h.Room("!r", "@alice:x", "@bob:x")
				h.Say("!r", "@alice:x", 0, 3)
				h.Arrived(3)
				<-time.After(5 * time.Second) // until positions are stored: nothing is repeated
				h.Server.DeleteStream(name)
				<-time.After(20 * time.Second)
				h.Register("@bob:x", "gw.test", "old", "new")
				h.Say("!r", "@alice:x", 3, 3)
				pokes := h.Arrived(9)
				<-time.After(time.Minute)
				if got := dispatchertest.Delivered(pokes, "new"); got != "r-3 r-4 r-5" {
					t.Errorf("the new pusher got %s", got)
				}
				if got := h.Delivered("old"); got != "r-0 r-1 r-2 r-3 r-4 r-5" {
					t.Errorf("the old pusher got %s", got)
				}
				if !strings.Contains(h.Log.String(), "what it held is lost\" stream="+name) {
					t.Error("its deletion was not logged")
				}
			})
		})
	}
}

// keepStreams keeps the streams of the dispatcher's connection, as the program does.
func (h *harness) keepStreams() {
	ctx, cancel := context.WithCancel(context.WithoutCancel(h.T.Context()))
	ended := make(chan error, 1)
	go func() { ended <- h.Own.Keep(ctx, natstest.Topology()) }()
	h.T.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			h.T.Errorf("keep: %v", err)
		}
	})
}
