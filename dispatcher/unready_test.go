package dispatcher_test

import (
	"strings"
	"testing"
	"time"

	"poked/events/eventstest"
)

// A dispatcher that cannot work for some time is not ready, with the reason, and is ready as
// soon as it works again.
func TestG14ReadinessIsTrue(t *testing.T) {
	eventstest.Long(t)
	for name, tt := range map[string]struct {
		refuse string
		want   string
	}{
		"heartbeat":           {"$KV.WORKERS.worker.", "the heartbeat of the dispatcher is not stored: "},
		"position of match":   {"$KV.POSITIONS.match.", "match of partition 0: its position is not stored: "},
		"position of deliver": {"$KV.POSITIONS.deliver.", "deliver of partition 0: its position is not stored: "},
		"room's state":        {"$JS.API.DIRECT.GET.ROOM_STATE", "match of partition 0: one of its messages waits"},
	} {
		t.Run(name, func(t *testing.T) {
			bubbleOf(t, 1, func(t *testing.T, h *harness) {
				h.Register("@bob:x", "gw.test", "bob")
				h.Room("!r", "@alice:x", "@bob:x")
				h.Say("!r", "@alice:x", 0, 3)
				h.Start()
				h.Arrived(3)
				h.Halt()
				h.Start()
				<-time.After(2 * stallTime)
				if why := h.Dispatcher.Unready(); why != "" {
					t.Errorf("not ready before anything happened: %s", why)
				}
				h.Link.Refuse(tt.refuse, 100_000)
				for n := range 4 {
					<-time.After(stallTime / 4)
					h.Say("!r", "@alice:x", 3+n, 1)
				}
				<-time.After(stallTime / 2)
				if why := h.Dispatcher.Unready(); !strings.Contains(why, tt.want) {
					t.Errorf("the reason is %q, want %q", why, tt.want)
				}
				h.Link.Spare()
				h.Arrived(7)
				eventstest.WaitFor(t, "it to be ready", func() bool { return h.Dispatcher.Unready() == "" })
			})
		})
	}
}

// stallTime is how long a test waits until a stall must be reported.
const stallTime = 40 * time.Second

// A partition that cannot be prepared is reported, and the others are worked on.
func TestG14UnpreparedPartition(t *testing.T) {
	bubbleOf(t, 4, func(t *testing.T, h *harness) {
		h.Server.Publish("$KV.POSITIONS.match.2", "garbage")
		h.Begin()
		h.Link.Refuse("dead.", 100_000) // so that the bad value cannot be kept
		<-time.After(2 * stallTime)
		if n := h.Dispatcher.Stats().Partitions; n != 3 {
			t.Errorf("%d partitions are owned, want 3", n)
		}
		if why := h.Dispatcher.Unready(); !strings.Contains(why, "partitions [2] are not worked on") {
			t.Errorf("the reason is %q", why)
		}
		h.Link.Spare()
		<-h.Dispatcher.Ready()
		eventstest.WaitFor(t, "it to be ready", func() bool { return h.Dispatcher.Unready() == "" })
		if n := h.Dispatcher.Stats().Partitions; n != 4 {
			t.Errorf("%d partitions are owned, want 4", n)
		}
	})
}
